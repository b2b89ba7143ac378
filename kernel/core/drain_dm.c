// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting for what is in flight in a device-mapper device.
 *
 * Its I/O statistics do not tell: targets that keep bios for a while (crypt,
 * delay, thin, cache) enter them only when they send them on. dm itself counts
 * every bio, and suspending waits for that count to fall to zero. The fast kind of
 * suspending, meant for other parts of the kernel, does just that, holds new bios
 * back meanwhile, and tells the targets nothing.
 *
 * It cannot be interrupted, and what is in flight may not complete for long (a thin
 * pool without space, a multipath without paths). So a thread of its own waits,
 * and the caller gives up on it after a while.
 *
 * dm may be a module, or not there at all: its functions are looked up when they
 * are needed.
 */
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "drain.h"

/* dm's own header, which is not installed, declares these two. */
void dm_internal_suspend_fast(struct mapped_device *md);
void dm_internal_resume_fast(struct mapped_device *md);

struct dm_drain {
	struct kref users;
	struct completion drained;
	struct mapped_device *md;
	typeof(dm_get_md) *get;
	typeof(dm_put) *put;
	typeof(dm_internal_suspend_fast) *suspend;
	typeof(dm_internal_resume_fast) *resume;
};

/* The calling of functions that were looked up holds their module. */
static bool dm_lookup(struct dm_drain *d)
{
	d->get = symbol_get(dm_get_md);
	if (!d->get)
		return false;
	/* One module has them all, so one reference serves; the rest are given back. */
	d->put = symbol_get(dm_put);
	d->suspend = symbol_get(dm_internal_suspend_fast);
	d->resume = symbol_get(dm_internal_resume_fast);
	if (d->put)
		symbol_put(dm_put);
	if (d->suspend)
		symbol_put(dm_internal_suspend_fast);
	if (d->resume)
		symbol_put(dm_internal_resume_fast);
	if (d->put && d->suspend && d->resume)
		return true;
	symbol_put(dm_get_md);
	return false;
}

static void dm_drain_free(struct kref *users)
{
	struct dm_drain *d = container_of(users, struct dm_drain, users);

	if (d->md)
		d->put(d->md);
	if (d->get)
		symbol_put(dm_get_md);
	kfree(d);
}

static int dm_drain_thread(void *arg)
{
	struct dm_drain *d = arg;

	d->suspend(d->md);
	d->resume(d->md);
	complete(&d->drained);
	kref_put(&d->users, dm_drain_free);
	module_put_and_kthread_exit(0);
}

/*
 * drain_dm() - wait for the bios in flight, if this is a device-mapper device
 *
 * Returns -ENODEV if it is none, -ETIMEDOUT when they took longer than @timeout
 * jiffies.
 */
int drain_dm(struct gendisk *disk, unsigned long timeout)
{
	struct dm_drain *d = kzalloc(sizeof(*d), GFP_KERNEL);
	struct task_struct *thread;
	int ret = 0;

	if (!d)
		return -ENOMEM;
	kref_init(&d->users);
	init_completion(&d->drained);
	if (dm_lookup(d))
		d->md = d->get(disk_devt(disk));
	if (!d->md) {
		ret = -ENODEV;
		goto put;
	}

	__module_get(THIS_MODULE);
	kref_get(&d->users);
	thread = kthread_run(dm_drain_thread, d, "blkfilter_drain");
	if (IS_ERR(thread)) {
		kref_put(&d->users, dm_drain_free);
		module_put(THIS_MODULE);
		ret = PTR_ERR(thread);
	} else if (!wait_for_completion_timeout(&d->drained, timeout)) {
		ret = -ETIMEDOUT;
	}
put:
	kref_put(&d->users, dm_drain_free);
	return ret;
}
