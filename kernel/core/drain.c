// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting until every bio that passed its last step before now has completed.
 *
 * A write that was submitted before a moment may reach the disk after it. Whoever
 * has told a user "everything from now on is known" (ATTACH), or "everything
 * until now is behind you" (a checkpoint), must have waited for such writes.
 *
 * A bio that passed the hook on its last step stands in one of three places:
 *
 * 1. between the hook and its queue, in a task that runs or was preempted.
 *    Waiting until each task has slept or left the kernel (tasks.c): then such a bio
 *    is in its queue, or waits at its entrance
 * 2. in the queue of a request-based device: it holds a reference to the queue,
 *    which freezing the queue waits for
 * 3. in a bio-based driver, where it holds a reference only while a task is in the
 *    driver's submit_bio. Device mapper counts its bios, as newer versions of md do, and
 *    can wait for them (drain_ask.c). The others (bcache, drbd, RAM disks) have entered
 *    a bio into the device's I/O statistics before their submit_bio returns, and take it
 *    out when it completes. With the queue frozen nothing new is entered, so that
 *    the count falls to zero
 *
 * Freezing and suspending hold new bios back at the entrance for as long as what is
 * in flight takes. Bios that had waited there already are let in with the rest; the
 * second round is for them. As long as somebody else holds the entrance shut (a
 * driver that resets its device) they stay there, so only rounds count before which
 * nobody waited, and in which nobody else held it. A disk that sleeps would be held shut
 * for good, so it is woken, and kept awake until the end.
 *
 * Not waited for: bios that were held back before their last step (walk.c), for filters
 * that need to look at that; and what md (until 6.11) has put aside while it flushes,
 * which they are shown again when it goes on.
 *
 * Not covered: what md never counts: discards of raid0, and until 6.7 all of linear.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>
#include <linux/part_stat.h>
#include <linux/pm_runtime.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/xarray.h>

#include <linux/blk-filter.h>

#include "compat.h"
#include "drain.h"
#include "tasks.h"

#define DRAIN_TIMEOUT	(30 * HZ)
#define DRAIN_LOCKS	64

/*
 * One drain of a disk at a time: to another one it would be somebody else who holds
 * the entrance shut. By a hash, so that a disk that hangs holds up few others.
 */
static struct mutex drain_locks[DRAIN_LOCKS];

/* drain_start() - when the module is loaded */
void drain_start(void)
{
	int i;

	for (i = 0; i < DRAIN_LOCKS; i++)
		mutex_init(&drain_locks[i]);
}

/* ---- Whether it can be known ------------------------------------------- */

/*
 * Arrays of md whose I/O statistics were off at any time, where those are all there is: what
 * was submitted then is not in them, and nothing tells when it is over. By disk.
 */
static DEFINE_XARRAY(uncounted);

/* One could not be entered, for want of memory: so it may be any. */
static bool uncounted_any;

/* drain_switched() - the I/O statistics of @disk are about to be switched on or off */
void drain_switched(struct gendisk *disk)
{
	if (COMPAT_MD_COUNTS || !compat_is_md(disk) || blk_queue_io_stat(disk->queue))
		return;
	if (xa_err(xa_store(&uncounted, (unsigned long)disk, xa_mk_value(1), GFP_ATOMIC)))
		WRITE_ONCE(uncounted_any, true);
}

/* drain_forget() - @disk goes */
void drain_forget(struct gendisk *disk)
{
	xa_erase(&uncounted, (unsigned long)disk);
}

/* drain_stop() - at exit */
void drain_stop(void)
{
	xa_destroy(&uncounted);
}

/* Do the I/O statistics of a bio-based device tell what is in flight? */
static bool statistics_tell(struct gendisk *disk)
{
	if (!compat_in_flight_known(disk))
		return false;
	if (!compat_is_md(disk) ||
	    (!READ_ONCE(uncounted_any) && !xa_load(&uncounted, (unsigned long)disk)))
		return true;
	pr_warn_ratelimited("%s: its I/O statistics were off for a while, and do not tell of what was begun then: stop and start the array\n",
			    disk->disk_name);
	return false;
}

/* ---- Waiting ------------------------------------------------------------- */

/* Wait until no bio waits at the entrance: 0, or whether any did, or -ETIMEDOUT. */
static int entrance_wait(struct request_queue *q, unsigned long deadline)
{
	int waited = 0;

	while (waitqueue_active(&q->mq_freeze_wq)) {
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		waited = 1;
		usleep_range(500, 1000);
	}
	return waited;
}

/* Asked while the queue is frozen: does somebody else hold it shut? A dead one lets all go. */
static bool entrance_shut(struct gendisk *disk)
{
	return !test_bit(GD_DEAD, &disk->state) &&
	       (READ_ONCE(disk->queue->mq_freeze_depth) > 1 ||
		blk_queue_pm_only(disk->queue));
}

static unsigned int disk_in_flight(struct gendisk *disk)
{
	struct block_device *bdev;
	unsigned long partno;
	long count = 0;
	int cpu;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, partno, bdev) {
		for_each_possible_cpu(cpu)
			count += part_stat_local_read_cpu(bdev, in_flight[0], cpu) +
				 part_stat_local_read_cpu(bdev, in_flight[1], cpu);
	}
	rcu_read_unlock();
	return max(count, 0L);
}

/*
 * Wait out what is in the queue or in its driver's submit_bio, and with @statistics what
 * those of its device count. Tells whether somebody else held the entrance shut: 0, 1, or
 * an error.
 */
static int drain_queue(struct gendisk *disk, bool statistics)
{
	struct request_queue *q = disk->queue;
	unsigned long deadline = jiffies + DRAIN_TIMEOUT;
	unsigned int noio;
	int ret = 0;

	/* Reclaim must not wait for I/O to a queue that this task holds back. */
	noio = memalloc_noio_save();
	blk_freeze_queue_start(q);
	if (!blk_mq_freeze_queue_wait_timeout(q, DRAIN_TIMEOUT)) {
		ret = -ETIMEDOUT;
	} else if (statistics) {
		while (disk_in_flight(disk)) {
			if (time_after(jiffies, deadline)) {
				ret = -ETIMEDOUT;
				break;
			}
			usleep_range(100, 500);
		}
	}
	if (!ret)
		ret = entrance_shut(disk);
	blk_mq_unfreeze_queue_nomemrestore(q);
	memalloc_noio_restore(noio);
	return ret;
}

/* Wait out what is in flight in a bio-based device; as above. */
static int drain_driver(struct gendisk *disk)
{
	int ret, shut;

	if (COMPAT_MD_COUNTS && compat_is_md(disk)) {
		/* What waits in md's submit_bio, because md is being changed, it has not counted. */
		shut = drain_queue(disk, false);
		ret = shut < 0 ? shut : drain_ask(disk, DRAIN_TIMEOUT);
		return ret == -ENODEV ? -EOPNOTSUPP : ret ?: shut;
	}
	ret = drain_ask(disk, DRAIN_TIMEOUT);
	if (ret != -ENODEV)
		return ret;
	ret = statistics_tell(disk) ? drain_queue(disk, true) : -EOPNOTSUPP;
	/* They may have been switched meanwhile. */
	return ret < 0 || statistics_tell(disk) ? ret : -EOPNOTSUPP;
}

static int drain_disk(struct gendisk *disk)
{
	unsigned long deadline = jiffies + 2 * DRAIN_TIMEOUT;
	int rounds = 0, ret, waited;

	while (rounds < 2) {
		ret = tasks_wait(DRAIN_TIMEOUT);
		if (ret == -ETIMEDOUT)
			tasks_name();
		if (ret)
			return ret;
		waited = entrance_wait(disk->queue, deadline);
		if (waited < 0)
			return waited;
		ret = queue_is_mq(disk->queue) ? drain_queue(disk, false) : drain_driver(disk);
		if (ret < 0)
			return ret;
		rounds = waited || ret ? 0 : rounds + 1;
		if (!rounds && time_after(jiffies, deadline))
			return -ETIMEDOUT;
	}
	return 0;
}

/* Drains under way that may have a dm device suspended. */
atomic_t drain_suspends = ATOMIC_INIT(0);

/* Wake the disk, if it sleeps when it is not used. Whoever has it open keeps the device. */
static struct device *disk_wake(struct gendisk *disk)
{
#ifdef CONFIG_PM
	struct device *dev = READ_ONCE(disk->queue->dev);

	/* Also where that fails it is counted: then the drain tells. */
	if (dev)
		pm_runtime_get_sync(dev);
	return dev;
#else
	return NULL;
#endif
}

static void disk_let_sleep(struct device *dev)
{
	if (!dev)
		return;
	pm_runtime_mark_last_busy(dev);
	pm_runtime_put_autosuspend(dev);
}

/**
 * blkfilter_drain() - wait for the bios that passed the hook before the call
 * @bdev: a device; its whole disk is drained
 *
 * May sleep, for some tenths of a second and for as long as the slowest request
 * in flight. For filters and for the core, in process context.
 *
 * Return: 0; -EINTR when the task is being killed; -ETIMEDOUT when requests stayed in
 * flight, or waited to be, for half a minute or longer, or when some task did not sleep for
 * as long, which the kernel's log names; -ENOMEM; -EOPNOTSUPP when what is in
 * flight cannot be known, because the I/O statistics of a bio-based device are switched
 * off, or do not tell.
 */
int blkfilter_drain(struct block_device *bdev)
{
	struct gendisk *disk = bdev->bd_disk;
	struct mutex *lock = &drain_locks[hash_ptr(disk, ilog2(DRAIN_LOCKS))];
	struct device *awake;
	int ret;

	if (mutex_lock_killable(lock))
		return -EINTR;
	awake = disk_wake(disk);
	atomic_inc(&drain_suspends);
	ret = drain_disk(disk);
	atomic_dec(&drain_suspends);
	disk_let_sleep(awake);
	mutex_unlock(lock);
	return ret;
}
EXPORT_SYMBOL_GPL(blkfilter_drain);
