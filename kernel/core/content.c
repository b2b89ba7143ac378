// SPDX-License-Identifier: GPL-2.0-only
/*
 * What gives a device other content without a bio.
 *
 * Device mapper: a table is swapped
 *
 *	dm sets the device's capacity, which is hooked, right before it puts a new table in
 *	the place of the old one, and whether or not the size changes. The device is suspended
 *	from before that until after the swap. So the table that is read there is the one before
 *	the swap, and also what the swap before that one has led to: each swap is judged once
 *	(table.c), the last one when the filter asks by blkfilter_settle(). A device
 *	that is suspended then may be about to swap: that counts as a change, and what comes
 *	of it is judged when it asks again.
 *
 *	A table may also turn DAX on, which keeps a filter from being attached. While it is
 *	on, anything may have changed.
 *
 * Loop: another file, or another place in it
 *
 *	The ioctls that do this are sent here. Filters learn of it after the ioctl has done
 *	it: before, a filter might settle it too early. LOOP_SET_STATUS sets the capacity,
 *	also to the same value, if and only if it moves the device.
 *
 * Hibernation
 *
 *	The filters' memory comes back as it was before it was written out. From the
 *	announcement to the end anything may change. A restore that fails has changed nothing.
 *
 * A virtual machine that is set back, or copied, with its memory
 *
 *	The machine's generation id tells the kernel, some moments after it goes on.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compat.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/suspend.h>

#include "content.h"
#include "stack.h"
#include "table.h"
#include "walk.h"

/* Times that the capacity of a loop device was set. That of another one does no harm. */
static atomic_long_t loop_resizes;

static void tell(struct blkfilter_attachment *att, enum blkfilter_unseen why)
{
	if (att->flt->ops->unseen)
		att->flt->ops->unseen(att->flt, why);
}

/* ---- Device mapper -------------------------------------------------------- */

/* content_init() - for a filter that is being attached */
void content_init(struct content *content, struct gendisk *disk)
{
	spin_lock_init(&content->lock);
	content->mapped = table_has(disk);
}

void content_free(struct content *content)
{
	kfree(content->before);
}

/* A swap is about to come. Does not sleep. */
static void note_swap(struct blkfilter_attachment *att)
{
	struct content *content = &att->content;
	struct table *now;
	bool swapping;

	spin_lock(&content->lock);
	now = table_read(att->disk, &swapping);
	if (content->swapped && !table_keeps(content->before, now))
		tell(att, BLKFILTER_UNSEEN_MAPPING);
	kfree(content->before);
	content->before = now;
	content->swapped = true;
	spin_unlock(&content->lock);
}

static void settle_table(struct blkfilter_attachment *att)
{
	struct content *content = &att->content;
	struct table *now;
	bool swapping;

	spin_lock(&content->lock);
	if (content->swapped) {
		now = table_read(att->disk, &swapping);
		if (swapping || !table_keeps(content->before, now))
			tell(att, BLKFILTER_UNSEEN_MAPPING);
		kfree(now);
		if (!swapping) {
			content->swapped = false;
			kfree(content->before);
			content->before = NULL;
		}
	}
	spin_unlock(&content->lock);
}

static void settle_dax(struct blkfilter_attachment *att)
{
	if (!blk_queue_dax(att->disk->queue))
		return;
	if (!xchg(&att->content.dax_told, true))
		pr_warn("%s can be mapped into memory (DAX) now: what its filter %s has to tell is worth nothing\n",
			att->disk->disk_name, att->flt->ops->name);
	tell(att, BLKFILTER_UNSEEN_MAPPING);
}

/* content_resized() - the disk's capacity is about to be set. Without preemption */
void content_resized(struct gendisk *disk)
{
	struct blkfilter_attachment *att;

	if (disk->major == LOOP_MAJOR)
		atomic_long_inc(&loop_resizes);
	stack_for_each_rcu(att, disk) {
		if (att->content.mapped)
			note_swap(att);
	}
}

/* ---- Hibernation, and virtual machines ------------------------------------- */

static bool hibernating;

static void all_unseen(enum blkfilter_unseen why)
{
	preempt_disable();
	walk_unseen_where(NULL, NULL, why);
	preempt_enable();
}

static int content_pm(struct notifier_block *nb, unsigned long event, void *data)
{
	if (event == PM_HIBERNATION_PREPARE) {
		WRITE_ONCE(hibernating, true);
	} else if (event == PM_POST_HIBERNATION) {
		all_unseen(BLKFILTER_UNSEEN_HIBERNATED);
		WRITE_ONCE(hibernating, false);
	}
	return NOTIFY_DONE;
}

static int content_forked(struct notifier_block *nb, unsigned long event, void *data)
{
	all_unseen(BLKFILTER_UNSEEN_FORKED);
	return NOTIFY_DONE;
}

static struct notifier_block pm_notifier = { .notifier_call = content_pm };
static struct notifier_block fork_notifier = { .notifier_call = content_forked };

/* content_start() - hear of it from now on */
int content_start(void)
{
	int ret;

	table_start();
	ret = register_pm_notifier(&pm_notifier);
	if (ret)
		return ret;
	ret = register_random_vmfork_notifier(&fork_notifier);
	if (ret)
		unregister_pm_notifier(&pm_notifier);
	return ret;
}

void content_stop(void)
{
	unregister_random_vmfork_notifier(&fork_notifier);
	unregister_pm_notifier(&pm_notifier);
	table_stop();
}

/* ---- Loop ------------------------------------------------------------------ */

bool notrace content_is_loop_ioctl(unsigned int cmd)
{
	return cmd == LOOP_SET_STATUS || cmd == LOOP_SET_STATUS64 || cmd == LOOP_CHANGE_FD;
}

/* content_loop_ioctl() - in place of blkdev_ioctl() and compat_blkdev_ioctl() */
long content_loop_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct gendisk *disk = I_BDEV(file->f_mapping->host)->bd_disk;
	long resizes = atomic_long_read(&loop_resizes);
	long ret = in_compat_syscall() ? file->f_op->compat_ioctl(file, cmd, arg) :
					 file->f_op->unlocked_ioctl(file, cmd, arg);

	if (disk->major == LOOP_MAJOR &&
	    (cmd == LOOP_CHANGE_FD ? !ret : resizes != atomic_long_read(&loop_resizes))) {
		preempt_disable();
		walk_unseen(disk, BLKFILTER_UNSEEN_MAPPING);
		preempt_enable();
	}
	return ret;
}

/* ---- For filters ----------------------------------------------------------- */

/**
 * blkfilter_settle() - find out what can only be found out when asked
 * @flt: the filter that asks, before it relies on what it remembers
 *
 * Its unseen callback is called if its device's content may be another since the last time
 * because of its mapping, or while it can be mapped into memory (DAX); of all else it is
 * called when it happens. May sleep.
 */
void blkfilter_settle(struct blkfilter *flt)
{
	struct blkfilter_attachment *att = flt->attachment;

	if (att->content.mapped)
		settle_table(att);
	settle_dax(att);
	if (READ_ONCE(hibernating))
		tell(att, BLKFILTER_UNSEEN_HIBERNATED);
}
EXPORT_SYMBOL_GPL(blkfilter_settle);
