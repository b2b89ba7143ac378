// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters that do to writes all that a filter may do, and that log what they are
 * told of devices:
 *
 *	insmod blkfilter_actor.ko names=upper,lower altitudes=900,100 added=sdc
 *
 * CTL command 1 takes an enum act for the writes to come, as a u32. Command 2 lets
 * go what is held. Command 3 reads struct actor_count. Command 4 says of the disk
 * what a driver says when it was pulled, command 5 the same while it keeps the queue
 * frozen, as drivers do that let go of a disk in use. The parameter "events" reads what happened,
 * a line each; "added" names a disk that is to be taken when it appears.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include <linux/blk-filter.h>

#define ACTOR_MAX	4

enum act {
	ACT_PASS,	/* see it */
	ACT_SLEEP,	/* sleep over it for a while */
	ACT_HOLD,	/* hold it until command 2 */
	ACT_FAIL,	/* complete it with an error */
	ACT_ECHO,	/* write the same once more, 1 MiB behind, by a bio of its own */
	ACT_STALL,	/* sleep over it until told to do something else */
};

struct actor_count {
	__u64 seen;
	__u64 held;
};

struct actor {
	struct blkfilter flt;
	struct block_device *bdev;
	u32 act;
	spinlock_t lock;
	struct bio_list held;
	u64 nr_held;
	atomic64_t seen;
};

static char *names[ACTOR_MAX];
static unsigned int nr_names;
module_param_array(names, charp, &nr_names, 0444);

static unsigned int altitudes[ACTOR_MAX];
module_param_array(altitudes, uint, NULL, 0444);

static char *added = "";
module_param(added, charp, 0644);

/* ---- Events ---------------------------------------------------------------- */

static char events[2048];
static DEFINE_MUTEX(events_lock);

static __printf(1, 2) void event(const char *fmt, ...)
{
	size_t len;
	va_list args;

	mutex_lock(&events_lock);
	len = strlen(events);
	va_start(args, fmt);
	vscnprintf(events + len, sizeof(events) - len, fmt, args);
	va_end(args);
	mutex_unlock(&events_lock);
}

static int events_get(char *buf, const struct kernel_param *kp)
{
	int len;

	mutex_lock(&events_lock);
	len = sysfs_emit(buf, "%s", events);
	events[0] = '\0';
	mutex_unlock(&events_lock);
	return len;
}

static const struct kernel_param_ops events_ops = { .get = events_get };
module_param_cb(events, &events_ops, NULL, 0444);

/* ---- Bios ------------------------------------------------------------------ */

/* The submitter's bio completes after ours, which reads the same memory. */
static void echo(struct actor *a, struct bio *bio)
{
	struct bio *own = bio_alloc_clone(bio->bi_bdev, bio, GFP_NOIO, &fs_bio_set);

	if (!own)
		return;
	own->bi_iter.bi_sector += 2048;
	bio_chain(own, bio);
	blkfilter_submit_below(&a->flt, own);
}

static bool actor_filter_bio(struct blkfilter *flt, struct bio *bio,
			     struct blkfilter_range range)
{
	struct actor *a = container_of(flt, struct actor, flt);

	if (!op_is_write(bio_op(bio)) || !range.count)
		return false;
	atomic64_inc(&a->seen);
	switch (READ_ONCE(a->act)) {
	case ACT_SLEEP:
		msleep(50);
		return false;
	case ACT_HOLD:
		spin_lock(&a->lock);
		bio_list_add(&a->held, bio);
		a->nr_held++;
		spin_unlock(&a->lock);
		return true;
	case ACT_FAIL:
		bio->bi_status = BLK_STS_MEDIUM;
		bio_endio(bio);
		return true;
	case ACT_ECHO:
		echo(a, bio);
		return false;
	case ACT_STALL:
		while (READ_ONCE(a->act) == ACT_STALL)
			msleep(10);
		return false;
	default:
		return false;
	}
}

static void release(struct actor *a)
{
	struct bio_list held;
	struct bio *bio;

	spin_lock(&a->lock);
	held = a->held;
	bio_list_init(&a->held);
	a->nr_held = 0;
	spin_unlock(&a->lock);
	while ((bio = bio_list_pop(&held)))
		blkfilter_submit_below(&a->flt, bio);
}

/* ---- The rest -------------------------------------------------------------- */

static struct blkfilter *actor_attach(struct block_device *bdev)
{
	struct actor *a = kzalloc(sizeof(*a), GFP_KERNEL);

	if (!a)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&a->lock);
	bio_list_init(&a->held);
	a->bdev = bdev;
	return &a->flt;
}

static void actor_detach(struct blkfilter *flt)
{
	struct actor *a = container_of(flt, struct actor, flt);

	event("detach %s\n", flt->ops->name);
	release(a);
	kfree(a);
}

static int kill_frozen(struct gendisk *disk)
{
	struct request_queue *q = disk->queue;

	blk_freeze_queue_start(q);
	blk_mq_freeze_queue_wait(q);
	blk_mark_disk_dead(disk);
	/* Since 6.14 there is another function for who did not ask for more than freezing. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	blk_mq_unfreeze_queue_nomemrestore(q);
#else
	blk_mq_unfreeze_queue(q);
#endif
	return 0;
}

static int actor_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
		     __u32 *plen)
{
	struct actor *a = container_of(flt, struct actor, flt);
	struct actor_count count = {
		.seen = atomic64_read(&a->seen),
		.held = READ_ONCE(a->nr_held),
	};
	u32 act;

	switch (cmd) {
	case 1:
		if (*plen != sizeof(act))
			return -EINVAL;
		if (copy_from_user(&act, buf, sizeof(act)))
			return -EFAULT;
		WRITE_ONCE(a->act, act);
		return 0;
	case 2:
		release(a);
		return 0;
	case 3:
		if (*plen != sizeof(count))
			return -EINVAL;
		return copy_to_user(buf, &count, sizeof(count)) ? -EFAULT : 0;
	case 4:
		blk_mark_disk_dead(a->bdev->bd_disk);
		return 0;
	case 5:
		return kill_frozen(a->bdev->bd_disk);
	default:
		return -ENOTTY;
	}
}

static bool actor_wants(struct block_device *bdev, const char *name)
{
	char device[BDEVNAME_SIZE];

	snprintf(device, sizeof(device), "%pg", bdev);
	if (strcmp(device, added))
		return false;
	event("added %s %s\n", device, name);
	return true;
}

/* The core does not say who is asked, so each has a function. */
static bool actor_added0(struct block_device *bdev)
{
	return actor_wants(bdev, names[0]);
}

static bool actor_added1(struct block_device *bdev)
{
	return actor_wants(bdev, names[1]);
}

/* Is the device still there? Regular: a flush succeeds. */
static void actor_removed(struct blkfilter *flt, bool surprise)
{
	struct actor *a = container_of(flt, struct actor, flt);

	event("removed %s %s %s\n", flt->ops->name, surprise ? "surprise" : "regular",
	      surprise ? "-" : blkdev_issue_flush(a->bdev) ? "dead" : "alive");
}

static void actor_moved(struct blkfilter *flt, struct block_device *bdev)
{
	container_of(flt, struct actor, flt)->bdev = bdev;
	event("moved %s\n", flt->ops->name);
}

static struct blkfilter_operations ops[ACTOR_MAX];

static void actor_unregister(unsigned int n)
{
	while (n--)
		blkfilter_unregister(&ops[n]);
}

static int __init actor_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < nr_names; i++) {
		ops[i] = (struct blkfilter_operations) {
			.owner = THIS_MODULE,
			.name = names[i],
			.altitude = altitudes[i],
			.flags = BLKFILTER_NO_FREEZE,
			.attach = actor_attach,
			.detach = actor_detach,
			.ctl = actor_ctl,
			.filter_bio = actor_filter_bio,
			.device_added = i == 0 ? actor_added0 : i == 1 ? actor_added1 : NULL,
			.device_removed = actor_removed,
			.moved = actor_moved,
		};
		ret = blkfilter_register(&ops[i]);
		if (ret) {
			actor_unregister(i);
			return ret;
		}
	}
	return 0;
}

static void __exit actor_exit(void)
{
	actor_unregister(nr_names);
}

module_init(actor_init);
module_exit(actor_exit);

MODULE_DESCRIPTION("Does to bios what a block device filter may do, for tests");
MODULE_LICENSE("GPL");
