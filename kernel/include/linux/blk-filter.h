/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Block device filters: the interface for modules that implement one.
 *
 * struct blkfilter, the first seven members of struct blkfilter_operations and
 * the two functions that register them are those of the "block device filtering
 * mechanism" series (v5, 2023). What stands below them goes beyond it.
 */
#ifndef _LINUX_BLK_FILTER_H
#define _LINUX_BLK_FILTER_H

#include <uapi/linux/blk-filter.h>
#include <linux/bio.h>
#include <linux/blk-cgroup.h>
#include <linux/cgroup.h>
#include <linux/list.h>

#define BLKFILTER_VERSION	"0.1.0"

struct block_device;
struct blkfilter_attachment;
struct blkfilter_operations;

/**
 * struct blkfilter - one filter on one device
 * @ops: filled in by the core when the filter's attach callback returns
 * @attachment: likewise; the core's own
 *
 * A filter embeds this in its own per-device structure.
 */
struct blkfilter {
	const struct blkfilter_operations *ops;
	struct blkfilter_attachment *attachment;
};

/**
 * struct blkfilter_range - the part of a device that a bio touches
 * @sector: the first sector, relative to the device the filter is attached to
 * @count: sectors; 0 for a flush without data
 *
 * Zone operations carry no length in the bio: for them the range is the whole
 * zone, or the whole device. For an operation that is not known it is the latter.
 */
struct blkfilter_range {
	sector_t sector;
	sector_t count;
};

/*
 * Places in a device's stack. I/O meets the highest altitude first. The space
 * between them is for other people's filters.
 */
#define BLKFILTER_ALTITUDE_TRACE	300000
#define BLKFILTER_ALTITUDE_CBT		200000
#define BLKFILTER_ALTITUDE_DEFAULT	150000
#define BLKFILTER_ALTITUDE_GUARD	100000

/**
 * enum blkfilter_flags - properties of a filter
 * @BLKFILTER_ATOMIC: filter_bio never sleeps and never consumes a bio. It runs
 *	with preemption disabled, at less than half of the cost
 * @BLKFILTER_NO_FREEZE: attaching needs no clean file system, so that none is
 *	frozen around it
 * @BLKFILTER_DENIES: last_step may answer with an error. Without it the answer is
 *	ignored, which costs less
 */
enum blkfilter_flags {
	BLKFILTER_ATOMIC = 1 << 0,
	BLKFILTER_NO_FREEZE = 1 << 1,
	BLKFILTER_DENIES = 1 << 2,
};

/**
 * enum blkfilter_unseen - why a device may hold something else, though no bio has said so
 * @BLKFILTER_UNSEEN_REQUEST: a request that may change data, and is no bio, was started
 *	on the disk (SG_IO, NVMe passthrough…)
 * @BLKFILTER_UNSEEN_MAPPING: the device stands for another place now: the table of a
 *	device-mapper device, or the file behind a loop device, was exchanged
 * @BLKFILTER_UNSEEN_HIBERNATED: the machine has hibernated. What the filter remembers is
 *	of the moment before its memory was written out
 * @BLKFILTER_UNSEEN_FORKED: the virtual machine was set back to an earlier state or is a
 *	copy of another one, with its memory
 */
enum blkfilter_unseen {
	BLKFILTER_UNSEEN_REQUEST,
	BLKFILTER_UNSEEN_MAPPING,
	BLKFILTER_UNSEEN_HIBERNATED,
	BLKFILTER_UNSEEN_FORKED,
};

/**
 * struct blkfilter_operations - a filter's callbacks
 * @link: the core's
 * @owner: THIS_MODULE; held while the filter is attached anywhere
 * @name: what ATTACH names it by, at most BLKFILTER_NAME_LENGTH bytes
 * @attach: make the per-device structure, or an ERR_PTR. Bios may arrive before
 *	it has returned to the caller of ATTACH. May sleep; called with the
 *	disk's open_mutex held, so it must not open or close that disk
 * @detach: let go of all bios that the filter holds, and free it. No other
 *	callback of this filter on this device runs, or will. The device may be
 *	gone already. May sleep
 * @ctl: a BLKFILTER_CTL command. @plen holds the bytes at @buf, and takes the
 *	bytes left there. May sleep. Not serialised against itself. Checks for
 *	CAP_SYS_ADMIN are the filter's
 * @submit_bio: the series' way to see a bio; called where neither @filter_bio nor
 *	@last_step is set, for the same bios as @filter_bio and with the same meaning
 *	of what it returns. It is for the filter to find out which device of its own
 *	is meant
 *
 * Beyond the series, each of these may be left out:
 *
 * @altitude: place in the stack; 0 is BLKFILTER_ALTITUDE_DEFAULT
 * @flags: of enum blkfilter_flags
 * @filter_bio: see one bio, with the range that it touches of the filter's
 *	device. A device sees each bio once, whether it was submitted to it, to one
 *	of its partitions, or to the disk it is a partition of. False passes the
 *	bio on to lower altitudes and the device, true consumes it: the filter
 *	completes it (bio_endio()) or lets it go later (blkfilter_submit_below()).
 *	Without BLKFILTER_ATOMIC it may sleep, but must not wait for a bio of its
 *	own: what is submitted within a stacking driver starts only after its
 *	return. The bio is the submitter's and must not be changed, but for this: to
 *	learn of its completion a filter may put its own bi_end_io and bi_private in
 *	place of what it finds, which it puts back, and calls, when it is called:
 *	that may be after detach (kernel/trace/follow.c says what else to mind)
 * @last_step: see a bio at its last step before the device's queue, behind
 *	everything that may have held it back since @filter_bio: other filters,
 *	blk-throttle, a suspended device-mapper device, a task that sleeps in the
 *	driver of a device above. For filters to which the moment of a write matters.
 *	Each bio comes at least once, whoever sent it and whatever the altitudes;
 *	remainders of a split, and what a driver has put aside, come again. Must not
 *	sleep, and leaves the bio as it is. With BLKFILTER_DENIES an error other than
 *	BLK_STS_OK completes the bio with it, and the device never gets it
 * @device_added: a disk or partition has appeared, and has done no I/O yet. True
 *	to be attached to it. Registered filters are asked lowest altitude first.
 *	May sleep; must not register a filter
 * @device_removed: the device is about to go, and the filter to be detached. In
 *	a regular removal I/O is still possible, and filters are called from the
 *	highest altitude down, so that each can finish its work through those
 *	below; in a surprise, from the lowest up, so that each can fail what those
 *	above wait for. May sleep
 * @moved: a rescan has replaced the filter's partition by an identical one (start,
 *	size and PARTUUID); @bdev takes the place of what attach was given.
 *	Filters without it are detached instead
 * @resized: the device is about to have @sectors sectors, perhaps as many as it
 *	has. Must not sleep
 * @unseen: the device may hold something else from now on. What has changed is not
 *	known. A filter that has this asks by blkfilter_settle() before it relies on
 *	what it remembers. Must not sleep
 * @configure: an attach rule has @options for the filter, words with a space between each
 *	two, or "" when it has none. They must be in force when this returns: the
 *	device's first bio comes after it. Without @flt, which is how a rule is added,
 *	only say whether they make sense. Negative errno if not, and 1 if the filter
 *	denies every change of the device with them: should it fail to attach later, the
 *	device is marked read-only instead. May sleep. A filter without this gets no options
 */
struct blkfilter_operations {
	struct list_head link;
	struct module *owner;
	const char *name;
	struct blkfilter *(*attach)(struct block_device *bdev);
	void (*detach)(struct blkfilter *flt);
	int (*ctl)(struct blkfilter *flt, const unsigned int cmd,
		   __u8 __user *buf, __u32 *plen);
	bool (*submit_bio)(struct bio *bio);

	unsigned int altitude;
	unsigned int flags;
	bool (*filter_bio)(struct blkfilter *flt, struct bio *bio,
			   struct blkfilter_range range);
	blk_status_t (*last_step)(struct blkfilter *flt, struct bio *bio,
				  struct blkfilter_range range);
	bool (*device_added)(struct block_device *bdev);
	void (*device_removed)(struct blkfilter *flt, bool surprise);
	void (*moved)(struct blkfilter *flt, struct block_device *bdev);
	void (*resized)(struct blkfilter *flt, sector_t sectors);
	void (*unseen)(struct blkfilter *flt, enum blkfilter_unseen why);
	int (*configure)(struct blkfilter *flt, const char *options);
};

int blkfilter_register(struct blkfilter_operations *ops);
void blkfilter_unregister(struct blkfilter_operations *ops);
void blkfilter_submit_below(struct blkfilter *flt, struct bio *bio);
int blkfilter_drain(struct block_device *bdev);
void blkfilter_set_read_only(struct blkfilter *flt, bool read_only);
void blkfilter_settle(struct blkfilter *flt);

/**
 * blkfilter_changes_data() - does this operation change what the device holds?
 * @op: of enum req_op
 *
 * An operation that is not known here does.
 */
static inline bool blkfilter_changes_data(enum req_op op)
{
	/* By far the most frequent. */
	if (op == REQ_OP_WRITE)
		return true;

	switch (op) {
	case REQ_OP_READ:
	case REQ_OP_FLUSH:
	case REQ_OP_ZONE_OPEN:
	case REQ_OP_ZONE_CLOSE:
	case REQ_OP_DRV_IN:
		return false;
	default:
		return true;
	}
}

/**
 * blkfilter_bio_cgroup() - the control group that a bio belongs to
 * @bio: a bio that has not completed, which keeps the group
 *
 * For what a kernel thread writes back, this is whose process made it dirty. Where
 * the io controller is not enabled for a group, its bios belong to the nearest
 * ancestor that has it.
 *
 * Return: NULL when the bio belongs to none, or the kernel does not know.
 */
static inline struct cgroup *blkfilter_bio_cgroup(struct bio *bio)
{
	struct cgroup_subsys_state *css = bio_blkcg_css(bio);

	return css ? css->cgroup : NULL;
}

/**
 * blkfilter_bio_cgroup_id() - the id of that group, its folder's inode number
 * @bio: as above
 *
 * Return: 0 when there is none.
 */
static inline u64 blkfilter_bio_cgroup_id(struct bio *bio)
{
	struct cgroup *cgroup = blkfilter_bio_cgroup(bio);

	return cgroup ? cgroup_id(cgroup) : 0;
}

#endif /* _LINUX_BLK_FILTER_H */
