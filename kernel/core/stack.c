// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which filters are attached to which devices: one hash table of attachments, by
 * disk (walk.c says why).
 *
 * Lifetimes
 *
 *	Walks run with preemption disabled and take no lock. An attachment that was
 *	taken out of the table is freed after synchronize_rcu(), which waits for
 *	walks that may have met it.
 *
 *	CTL runs without any lock, because a filter's command may take as long as
 *	user memory takes to be paged in; and so does a filter that sleeps over a
 *	bio. They hold a reference (@users, @bios) instead, and whoever gives the last
 *	one back frees the attachment. DETACH waits for that; a device that goes away
 *	does not, since that happens under locks that other devices need.
 *
 *	An attachment holds its filter's module, the hook on I/O and the device's
 *	struct block_device. It does not hold the device open: a disk that goes away
 *	takes its filters along (lifecycle.c).
 *
 * Rescans
 *
 *	A rescan removes all partitions of a disk and adds those that it finds. The
 *	attachments of partitions are parked before it. One whose device is removed
 *	stays in the table, and goes on seeing what overlaps it, by the old struct
 *	block_device; the reference keeps that. It moves to the first new partition
 *	that is the same, before anybody can open that one, and goes when there is
 *	none in the end. A partition that is open cannot be removed, so nobody is in
 *	a CTL of a filter that moves.
 *
 * Locks: disk->open_mutex (ATTACH and rescans hold it) > the mutex of the class of
 * block devices (devices that are added and removed) > stack_lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "hook.h"
#include "registry.h"
#include "stack.h"

static DEFINE_MUTEX(stack_lock);
DEFINE_HASHTABLE(stacks, 10);

/* For those who hold stack_lock. */
#define stack_for_each(att, gendisk)						\
	hash_for_each_possible(stacks, att, node, (unsigned long)(gendisk))	\
		if ((att)->disk != (gendisk)) {} else

/* The hooks that a filter needs. */
static unsigned int hooks_of(const struct blkfilter_operations *ops)
{
	unsigned int hooks = HOOK_REQUEST;

	if (ops->filter_bio || !ops->last_step)
		hooks |= HOOK_ENTRY;
	if ((hooks & HOOK_ENTRY) && !(ops->flags & BLKFILTER_ATOMIC))
		hooks |= HOOK_REDIRECT;
	if (ops->last_step)
		hooks |= HOOK_LAST;
	if (ops->flags & BLKFILTER_DENIES)
		hooks |= HOOK_DENY;
	return hooks;
}

/* ---- The end of an attachment ------------------------------------------ */

/* The last reference is gone: nobody is in the filter any more. */
static void attachment_free(struct blkfilter_attachment *att)
{
	const struct blkfilter_operations *ops = att->flt->ops;
	struct completion *freed = att->freed;

	ops->detach(att->flt);
	hook_put(hooks_of(ops));
	registry_put(ops);
	put_device(&att->bdev->bd_device);
	content_free(&att->content);
	free_percpu(att->bios);
	kfree(att);
	if (freed)
		complete(freed);
}

void stack_put(struct blkfilter_attachment *att)
{
	if (refcount_dec_and_test(&att->users))
		attachment_free(att);
}

/*
 * A bio that slept in a filter may be its last user. Freeing takes too much for the
 * task that submitted it, which holds whatever file systems and drivers hold.
 */
static LLIST_HEAD(reaped);

static void stack_reap(struct work_struct *work)
{
	struct blkfilter_attachment *att, *next;

	llist_for_each_entry_safe(att, next, llist_del_all(&reaped), reaped)
		attachment_free(att);
}
static DECLARE_WORK(stack_reap_work, stack_reap);

void stack_put_bio(struct blkfilter_attachment *att)
{
	bool last = false;

	rcu_read_lock();
	if (!READ_ONCE(att->dropped))
		this_cpu_dec(*att->bios);
	else
		last = atomic_long_dec_and_test(&att->bios_left);
	rcu_read_unlock();
	if (last && refcount_dec_and_test(&att->users)) {
		llist_add(&att->reaped, &reaped);
		schedule_work(&stack_reap_work);
	}
}

/*
 * Let go of what was taken out of the table.
 *
 * After the grace period no walk that has met it has still to count its bio in, and all bios
 * are counted out in @bios_left: since it was dropped, so that may be below zero until what the
 * CPUs have counted is added. (A struct percpu_ref does the same, but keeps a reference of its own
 * for a while: a filter without bios would not be freed here, before those below it.)
 */
static void attachment_drop(struct blkfilter_attachment *att, struct completion *freed)
{
	long count = 0;
	int cpu;

	att->freed = freed;
	WRITE_ONCE(att->dropped, true);
	synchronize_rcu();
	for_each_possible_cpu(cpu)
		count += *per_cpu_ptr(att->bios, cpu);
	if (!atomic_long_add_return(count, &att->bios_left))
		refcount_dec(&att->users);
	stack_put(att);
}

/* stack_stop() - at exit, when nothing is attached */
void stack_stop(void)
{
	flush_work(&stack_reap_work);
}

/* ---- The kernel's own flag ---------------------------------------------- */

/*
 * While a filter denies every change, its device is marked read-only too: the kernel then
 * refuses sooner, and file systems that ask whether they may write get a true answer.
 * A device that was marked before stays so.
 */
static void attachment_mark(struct blkfilter_attachment *att)
{
	if (compat_bdev_marked_read_only(att->bdev))
		return;
	compat_bdev_set_read_only(att->bdev, true);
	att->marked = true;
}

static void attachment_unmark(struct blkfilter_attachment *att)
{
	struct blkfilter_attachment *other;

	if (!att->marked)
		return;
	att->marked = false;
	stack_for_each(other, att->disk) {
		if (other != att && other->bdev == att->bdev && other->read_only) {
			other->marked = true;
			return;
		}
	}
	compat_bdev_set_read_only(att->bdev, false);
}

/**
 * blkfilter_set_read_only() - say whether the filter denies every change of its device
 * @flt: the filter; not before its attach callback has returned
 * @read_only: whether it does from now on
 *
 * May sleep.
 */
void blkfilter_set_read_only(struct blkfilter *flt, bool read_only)
{
	struct blkfilter_attachment *att = flt->attachment;

	mutex_lock(&stack_lock);
	att->read_only = read_only;
	/* It is not in the table yet, or no more. */
	if (hlist_unhashed(&att->node))
		goto unlock;
	if (read_only)
		attachment_mark(att);
	else
		attachment_unmark(att);
unlock:
	mutex_unlock(&stack_lock);
}
EXPORT_SYMBOL_GPL(blkfilter_set_read_only);

static void attachment_unlink(struct blkfilter_attachment *att)
{
	attachment_unmark(att);
	hash_del_rcu(&att->node);
}

/* ---- Attaching and detaching ------------------------------------------ */

static struct blkfilter_attachment *stack_find(struct block_device *bdev,
					       const char *name)
{
	struct blkfilter_attachment *att;

	lockdep_assert_held(&stack_lock);
	stack_for_each(att, bdev->bd_disk) {
		if (att->bdev == bdev &&
		    (!name || !strncmp(att->flt->ops->name, name,
				       BLKFILTER_NAME_LENGTH)))
			return att;
	}
	return NULL;
}

static void stack_insert(struct blkfilter_attachment *new)
{
	struct blkfilter_attachment *att, *above = NULL;

	stack_for_each(att, new->disk) {
		if (place_below(&att->place, &new->place)) {
			hlist_add_before_rcu(&new->node, &att->node);
			return;
		}
		above = att;
	}
	if (above)
		hlist_add_behind_rcu(&new->node, &above->node);
	else
		hash_add_rcu(stacks, &new->node, (unsigned long)new->disk);
}

static int stack_conflict(struct block_device *bdev,
			  const struct blkfilter_operations *ops)
{
	struct blkfilter_attachment *att;

	if (stack_find(bdev, ops->name))
		return -EALREADY;
	stack_for_each(att, bdev->bd_disk) {
		if (att->bdev == bdev && att->place.altitude == ops_altitude(ops))
			return -EBUSY;
	}
	return 0;
}

/*
 * stack_attach() - put a filter on a device
 * @options: of the rule that does so; NULL if none does
 * @id: takes what tells this attachment from later ones of the same filter
 *
 * The caller keeps the filter's module loaded for the time of the call, and the
 * device from going: by its disk's open_mutex, or because it is just being added.
 * So nothing else is attached to the same disk meanwhile.
 */
int stack_attach(struct block_device *bdev, struct blkfilter_operations *ops,
		 const char *options, u64 *id)
{
	struct blkfilter_attachment *att;
	static u64 last_id;
	int ret;

	if (blk_queue_dax(bdev->bd_disk->queue)) {
		pr_warn("%pg can be mapped into memory (DAX), and what is written there passes no filter: not attached\n",
			bdev);
		return -EOPNOTSUPP;
	}

	att = kzalloc(sizeof(*att), GFP_KERNEL);
	if (!att)
		return -ENOMEM;
	att->bios = alloc_percpu(long);
	if (!att->bios) {
		ret = -ENOMEM;
		goto free;
	}

	if (ops->unseen)
		content_init(&att->content, bdev->bd_disk);

	ret = hook_get(hooks_of(ops));
	if (ret)
		goto free;

	mutex_lock(&stack_lock);
	ret = stack_conflict(bdev, ops);
	mutex_unlock(&stack_lock);
	if (ret)
		goto unhook;

	att->flt = ops->attach(bdev);
	if (IS_ERR_OR_NULL(att->flt)) {
		ret = att->flt ? PTR_ERR(att->flt) : -ENOMEM;
		goto unhook;
	}
	att->flt->ops = ops;
	att->flt->attachment = att;
	att->filter_bio = ops->filter_bio;
	att->last_step = ops->last_step;
	att->flags = ops->flags;
	if (options && ops->configure) {
		ret = ops->configure(att->flt, options);
		if (ret < 0)
			goto detach;
	}

	__module_get(ops->owner);
	get_device(&bdev->bd_device);
	att->disk = bdev->bd_disk;
	att->bdev = bdev;
	/* The table's, and that of all bios. */
	refcount_set(&att->users, 2);

	mutex_lock(&stack_lock);
	att->place = (struct place) {
		.disk = !bdev_is_partition(bdev),
		.altitude = ops_altitude(ops),
		.id = ++last_id,
	};
	*id = att->place.id;
	stack_insert(att);
	if (att->read_only)
		attachment_mark(att);
	mutex_unlock(&stack_lock);
	return 0;

detach:
	ops->detach(att->flt);
unhook:
	hook_put(hooks_of(ops));
free:
	free_percpu(att->bios);
	kfree(att);
	return ret;
}

/*
 * stack_detach() - take the filter @name off a device
 * @id: only if it is this attachment of it; 0 for any
 *
 * On return no bio, and no CTL, is in the filter any more.
 */
int stack_detach(struct block_device *bdev, const char *name, u64 id)
{
	DECLARE_COMPLETION_ONSTACK(freed);
	struct blkfilter_attachment *att;
	int ret = 0;

	mutex_lock(&stack_lock);
	att = stack_find(bdev, name);
	if (att && id && att->place.id != id)
		att = NULL;
	if (att)
		attachment_unlink(att);
	else
		ret = stack_find(bdev, NULL) ? -EINVAL : -ENOENT;
	mutex_unlock(&stack_lock);

	if (att) {
		attachment_drop(att, &freed);
		wait_for_completion(&freed);
	}
	return ret;
}

/* ---- Devices that go --------------------------------------------------- */

/*
 * Tell a filter that its device is about to go, if it was not told. Called with
 * stack_lock held, which is released meanwhile.
 */
static void attachment_tell(struct blkfilter_attachment *att, bool surprise)
{
	att->told = true;
	if (!att->flt->ops->device_removed)
		return;
	refcount_inc(&att->users);
	mutex_unlock(&stack_lock);
	att->flt->ops->device_removed(att->flt, surprise);
	stack_put(att);
	mutex_lock(&stack_lock);
}

/* The next step of ending an attachment: tell its filter, then let go. Locks as above. */
static void attachment_end(struct blkfilter_attachment *att, bool surprise)
{
	if (!att->told) {
		attachment_tell(att, surprise);
		return;
	}
	attachment_unlink(att);
	mutex_unlock(&stack_lock);
	attachment_drop(att, NULL);
	mutex_lock(&stack_lock);
}

/*
 * stack_announce() - tell all filters of a disk that it is about to go
 *
 * From the top down, or after a surprise from the bottom up.
 */
void stack_announce(struct gendisk *disk, bool surprise)
{
	struct blkfilter_attachment *att, *next;

	mutex_lock(&stack_lock);
	do {
		next = NULL;
		stack_for_each(att, disk) {
			if (att->told)
				continue;
			next = att;
			if (!surprise)
				break;
		}
		if (next)
			attachment_tell(next, surprise);
	} while (next);
	mutex_unlock(&stack_lock);
}

/*
 * stack_remove() - a device was removed: take every filter off it
 *
 * From the highest altitude down, so that each filter's lower ones are still there
 * while it finishes. In a rescan those that may move on stay.
 */
void stack_remove(struct block_device *bdev)
{
	struct blkfilter_attachment *att, *next;

	mutex_lock(&stack_lock);
	do {
		next = NULL;
		stack_for_each(att, bdev->bd_disk) {
			if (att->bdev != bdev || att->lost)
				continue;
			next = att;
			break;
		}
		if (next && next->parked)
			next->lost = true;
		else if (next)
			attachment_end(next, false);
	} while (next);
	mutex_unlock(&stack_lock);
}

/* ---- Rescans ----------------------------------------------------------- */

/* stack_park() - a rescan of @disk begins */
void stack_park(struct gendisk *disk)
{
	struct blkfilter_attachment *att;

	mutex_lock(&stack_lock);
	stack_for_each(att, disk) {
		if (bdev_is_partition(att->bdev) && att->flt->ops->moved)
			att->parked = true;
	}
	mutex_unlock(&stack_lock);
}

static bool same_partition(struct block_device *a, struct block_device *b)
{
	const struct partition_meta_info *info_a = a->bd_meta_info;
	const struct partition_meta_info *info_b = b->bd_meta_info;

	return a->bd_start_sect == b->bd_start_sect &&
	       bdev_nr_sectors(a) == bdev_nr_sectors(b) &&
	       !strcmp(info_a ? info_a->uuid : "", info_b ? info_b->uuid : "");
}

/* stack_move() - a partition was found: give it the filters of the one it was */
void stack_move(struct block_device *bdev)
{
	struct blkfilter_attachment *att;
	struct block_device *old;

	mutex_lock(&stack_lock);
again:
	stack_for_each(att, bdev->bd_disk) {
		if (!att->lost || !same_partition(att->bdev, bdev))
			continue;
		old = att->bdev;
		get_device(&bdev->bd_device);
		WRITE_ONCE(att->bdev, bdev);
		att->lost = false;
		att->marked = false;
		if (att->read_only)
			attachment_mark(att);
		att->flt->ops->moved(att->flt, bdev);
		/* For walks that go by the old one still. */
		synchronize_rcu();
		put_device(&old->bd_device);
		goto again;
	}
	mutex_unlock(&stack_lock);
}

/* stack_unpark() - a rescan of @disk has ended */
void stack_unpark(struct gendisk *disk)
{
	struct blkfilter_attachment *att, *lost;

	mutex_lock(&stack_lock);
	do {
		lost = NULL;
		stack_for_each(att, disk) {
			att->parked = false;
			if (att->lost)
				lost = att;
		}
		if (lost)
			attachment_end(lost, true);
	} while (lost);
	mutex_unlock(&stack_lock);
}

/* ---- Using an attached filter ----------------------------------------- */

/* stack_get() - find an attached filter, and keep it until stack_put(). */
struct blkfilter_attachment *stack_get(struct block_device *bdev, const char *name)
{
	struct blkfilter_attachment *att;

	mutex_lock(&stack_lock);
	att = stack_find(bdev, name);
	if (att)
		refcount_inc(&att->users);
	mutex_unlock(&stack_lock);
	return att;
}

/* stack_show() - the names on a device, a line each, highest altitude first. */
ssize_t stack_show(struct block_device *bdev, char *buf)
{
	struct blkfilter_attachment *att;
	ssize_t len = 0;

	mutex_lock(&stack_lock);
	stack_for_each(att, bdev->bd_disk) {
		if (att->bdev == bdev)
			len += sysfs_emit_at(buf, len, "%s\n", att->flt->ops->name);
	}
	mutex_unlock(&stack_lock);
	return len;
}

/* stack_bypassed() - requests that none of a device's filters could see */
long stack_bypassed(struct block_device *bdev)
{
	struct blkfilter_attachment *att;
	long count = 0;

	mutex_lock(&stack_lock);
	stack_for_each(att, bdev->bd_disk) {
		if (att->bdev == bdev)
			count = max(count, atomic_long_read(&att->bypassed));
	}
	mutex_unlock(&stack_lock);
	return count;
}
