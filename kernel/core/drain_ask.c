// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting for what is in flight in the drivers that count their bios themselves.
 *
 * Device mapper: its I/O statistics do not tell. Targets that keep bios for a while
 * (crypt, delay, thin, cache) enter them only when they send them on. dm itself counts
 * every bio, and suspending waits for that count to fall to zero. The fast kind of
 * suspending, meant for other parts of the kernel, does just that, holds new bios
 * back meanwhile, and tells the targets nothing.
 *
 * md, since 6.7: its I/O statistics lack what was submitted while they were switched off.
 * It counts each bio in mddev->active_io as long as it is in the array (but for discards
 * of raid0), whatever they say, and mddev_suspend() waits for that to fall to zero.
 * Until 6.6 that had to be called with a lock of md's own, and waited for less.
 *
 * Neither gives up when what is in flight does not complete for long (a thin pool
 * without space, a multipath without paths). So a thread of its own waits, and the
 * caller gives up on it after a while.
 *
 * Both may be modules, or not there at all: their functions are looked up when they
 * are needed.
 */
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "drain.h"

/* The drivers' own headers, which are not installed, declare these. */
void dm_internal_suspend_fast(struct mapped_device *md);
void dm_internal_resume_fast(struct mapped_device *md);
struct mddev;
int mddev_suspend(struct mddev *mddev, bool interruptible);
void mddev_resume(struct mddev *mddev);

/**
 * struct asked - a device whose driver is asked to suspend it for a moment
 * @users: who asks, and the thread that waits
 * @drained: it was suspended, and goes on
 * @suspend_resume: does so
 * @put: gives back what was looked up
 * @dm: the device and the functions, if it is device mapper's
 * @md: the same, if it is md's
 */
struct asked {
	struct kref users;
	struct completion drained;
	void (*suspend_resume)(struct asked *asked);
	void (*put)(struct asked *asked);
	union {
		struct {
			struct mapped_device *device;
			typeof(&dm_put) put;
			typeof(&dm_internal_suspend_fast) suspend;
			typeof(&dm_internal_resume_fast) resume;
		} dm;
		struct {
			struct gendisk *disk;
			typeof(&mddev_suspend) suspend;
			typeof(&mddev_resume) resume;
		} md;
	};
};

/*
 * The calling of functions that were looked up holds their module. One module has all of
 * a driver, so one reference serves; the rest are given back at once.
 */
#define lookup_more(name)	({						\
		typeof(&name) _function = symbol_get(name);			\
		if (_function)							\
			symbol_put(name);					\
		_function;							\
	})

/* ---- Device mapper ------------------------------------------------------- */

static void dm_suspend_resume(struct asked *asked)
{
	asked->dm.suspend(asked->dm.device);
	asked->dm.resume(asked->dm.device);
}

static void dm_release(struct asked *asked)
{
	asked->dm.put(asked->dm.device);
	symbol_put(dm_get_md);
}

/* Is this a device of device mapper? */
static bool dm_lookup(struct asked *asked, struct gendisk *disk)
{
	typeof(dm_get_md) *get = symbol_get(dm_get_md);

	if (!get)
		return false;
	asked->suspend_resume = dm_suspend_resume;
	asked->put = dm_release;
	asked->dm.put = lookup_more(dm_put);
	asked->dm.suspend = lookup_more(dm_internal_suspend_fast);
	asked->dm.resume = lookup_more(dm_internal_resume_fast);
	if (asked->dm.put && asked->dm.suspend && asked->dm.resume)
		asked->dm.device = get(disk_devt(disk));
	if (!asked->dm.device)
		symbol_put(dm_get_md);
	return asked->dm.device;
}

/* ---- md ------------------------------------------------------------------ */

/* Interruptible only so that the kernel does not take the thread for one that hangs. */
static void md_suspend_resume(struct asked *asked)
{
	struct mddev *mddev = asked->md.disk->private_data;

	if (!asked->md.suspend(mddev, true))
		asked->md.resume(mddev);
}

static void md_release(struct asked *asked)
{
	/* The array's struct is freed with its disk. */
	put_device(disk_to_dev(asked->md.disk));
	symbol_put(mddev_suspend);
}

/* Is this an array of md, which counts all? */
static bool md_lookup(struct asked *asked, struct gendisk *disk)
{
	if (!COMPAT_MD_COUNTS || !compat_is_md(disk))
		return false;
	asked->md.suspend = symbol_get(mddev_suspend);
	if (!asked->md.suspend)
		return false;
	asked->md.resume = lookup_more(mddev_resume);
	if (!asked->md.resume) {
		symbol_put(mddev_suspend);
		return false;
	}
	asked->suspend_resume = md_suspend_resume;
	asked->put = md_release;
	asked->md.disk = disk;
	get_device(disk_to_dev(disk));
	return true;
}

/* ---- Asking -------------------------------------------------------------- */

static void asked_free(struct kref *users)
{
	struct asked *asked = container_of(users, struct asked, users);

	asked->put(asked);
	kfree(asked);
	atomic_dec(&drain_suspends);
}

static int ask_thread(void *arg)
{
	struct asked *asked = arg;

	asked->suspend_resume(asked);
	complete(&asked->drained);
	kref_put(&asked->users, asked_free);
	module_put_and_kthread_exit(0);
}

/*
 * drain_ask() - wait for the bios in flight, if the driver of @disk can be asked to
 *
 * Returns -ENODEV if it cannot, -ETIMEDOUT when they took longer than @timeout jiffies.
 */
int drain_ask(struct gendisk *disk, unsigned long timeout)
{
	struct asked *asked = kzalloc(sizeof(*asked), GFP_KERNEL);
	struct task_struct *thread;
	int ret = 0;

	if (!asked)
		return -ENOMEM;
	if (!md_lookup(asked, disk) && !dm_lookup(asked, disk)) {
		kfree(asked);
		return -ENODEV;
	}
	kref_init(&asked->users);
	init_completion(&asked->drained);
	atomic_inc(&drain_suspends);

	__module_get(THIS_MODULE);
	kref_get(&asked->users);
	thread = kthread_run(ask_thread, asked, "blkfilter_drain");
	if (IS_ERR(thread)) {
		kref_put(&asked->users, asked_free);
		module_put(THIS_MODULE);
		ret = PTR_ERR(thread);
	} else if (!wait_for_completion_timeout(&asked->drained, timeout)) {
		ret = -ETIMEDOUT;
	}
	kref_put(&asked->users, asked_free);
	return ret;
}
