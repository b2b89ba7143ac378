// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters that do nothing but count, under any names and altitudes:
 *
 *	insmod blkfilter_witness.ko names=upper,lower altitudes=900,100
 *
 * CTL command 1 reads struct witness_counts of the device; a filter whose name
 * begins with "mute" takes no commands, and one whose name begins with "last" looks
 * at the last step of each bio. With sleeps=USEC they are filters that may
 * sleep, which see bios in another way, and do sleep for so long over each (but not
 * at the last step). The
 * parameter "live" tells how many attachments there are, so that a test can see none
 * is left behind.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <linux/blk-filter.h>

#define WITNESS_MAX	8
#define WITNESS_COUNT	1

struct witness_counts {
	__u64 reads;
	__u64 writes;
	__u64 read_sectors;
	__u64 written_sectors;
	__u64 zone_sectors;
};

struct witness {
	struct blkfilter flt;
	atomic64_t reads, writes, read_sectors, written_sectors, zone_sectors;
};

static char *names[WITNESS_MAX];
static unsigned int nr_names;
module_param_array(names, charp, &nr_names, 0444);

static unsigned int altitudes[WITNESS_MAX];
module_param_array(altitudes, uint, NULL, 0444);

static unsigned int sleeps;
module_param(sleeps, uint, 0444);

static int live;
module_param(live, int, 0444);

/*
 * What a zone operation touches is more than the data that comes with it, which is
 * none or, with an append, some: that data alone counts as written.
 */
static bool is_zone_operation(enum req_op op)
{
	return op == REQ_OP_ZONE_APPEND || op == REQ_OP_ZONE_RESET ||
	       op == REQ_OP_ZONE_RESET_ALL || op == REQ_OP_ZONE_FINISH;
}

static void witness_count(struct blkfilter *flt, struct bio *bio,
			  struct blkfilter_range range)
{
	struct witness *w = container_of(flt, struct witness, flt);

	if (blkfilter_changes_data(bio_op(bio))) {
		atomic64_inc(&w->writes);
		if (is_zone_operation(bio_op(bio))) {
			atomic64_add(range.count, &w->zone_sectors);
			range.count = bio_sectors(bio);
		}
		atomic64_add(range.count, &w->written_sectors);
	} else if (bio_op(bio) == REQ_OP_READ) {
		atomic64_inc(&w->reads);
		atomic64_add(range.count, &w->read_sectors);
	}
}

static bool witness_filter_bio(struct blkfilter *flt, struct bio *bio,
			       struct blkfilter_range range)
{
	if (sleeps)
		usleep_range(sleeps, sleeps);
	witness_count(flt, bio, range);
	return false;
}

static blk_status_t witness_last_step(struct blkfilter *flt, struct bio *bio,
				      struct blkfilter_range range)
{
	witness_count(flt, bio, range);
	return BLK_STS_OK;
}

/* Attach and detach are serialised per device only. */
static DEFINE_MUTEX(live_lock);

static void live_add(int n)
{
	mutex_lock(&live_lock);
	live += n;
	mutex_unlock(&live_lock);
}

static struct blkfilter *witness_attach(struct block_device *bdev)
{
	struct witness *w = kzalloc(sizeof(*w), GFP_KERNEL);

	if (!w)
		return ERR_PTR(-ENOMEM);
	live_add(1);
	return &w->flt;
}

static void witness_detach(struct blkfilter *flt)
{
	live_add(-1);
	kfree(container_of(flt, struct witness, flt));
}

/* It knows its device by what it is shown alone. */
static void witness_moved(struct blkfilter *flt, struct block_device *bdev)
{
}

static int witness_ctl(struct blkfilter *flt, const unsigned int cmd,
		       __u8 __user *buf, __u32 *plen)
{
	struct witness *w = container_of(flt, struct witness, flt);
	struct witness_counts count = {
		.reads = atomic64_read(&w->reads),
		.writes = atomic64_read(&w->writes),
		.read_sectors = atomic64_read(&w->read_sectors),
		.written_sectors = atomic64_read(&w->written_sectors),
		.zone_sectors = atomic64_read(&w->zone_sectors),
	};

	if (cmd != WITNESS_COUNT)
		return -ENOTTY;
	if (*plen < sizeof(count))
		return -EINVAL;
	*plen = sizeof(count);
	return copy_to_user(buf, &count, sizeof(count)) ? -EFAULT : 0;
}

static struct blkfilter_operations ops[WITNESS_MAX];

static void witness_unregister(unsigned int n)
{
	while (n--)
		blkfilter_unregister(&ops[n]);
}

static int __init witness_init(void)
{
	unsigned int i;
	bool last;
	int ret;

	for (i = 0; i < nr_names; i++) {
		last = !strncmp(names[i], "last", 4);
		ops[i].owner = THIS_MODULE;
		ops[i].name = names[i];
		ops[i].altitude = altitudes[i];
		ops[i].flags = BLKFILTER_NO_FREEZE | (sleeps && !last ? 0 : BLKFILTER_ATOMIC);
		ops[i].attach = witness_attach;
		ops[i].detach = witness_detach;
		ops[i].ctl = strncmp(names[i], "mute", 4) ? witness_ctl : NULL;
		ops[i].filter_bio = last ? NULL : witness_filter_bio;
		ops[i].last_step = last ? witness_last_step : NULL;
		ops[i].moved = witness_moved;
		ret = blkfilter_register(&ops[i]);
		if (ret) {
			witness_unregister(i);
			return ret;
		}
	}
	return 0;
}

static void __exit witness_exit(void)
{
	witness_unregister(nr_names);
}

module_init(witness_init);
module_exit(witness_exit);

MODULE_DESCRIPTION("Counts what a block device filter sees, for tests");
MODULE_LICENSE("GPL");
