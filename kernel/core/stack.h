/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_STACK_H
#define BLKFILTER_STACK_H

#include <linux/blk-filter.h>
#include <linux/hashtable.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/refcount.h>

#include "content.h"

struct completion;

/**
 * struct place - an attachment's place in its disk's stack; no two have the same
 * @disk: of the whole disk's filters, which stand below the partitions'
 * @altitude: higher ones stand above lower ones
 * @id: counts attachments, from 1
 */
struct place {
	bool disk;
	unsigned int altitude;
	u64 id;
};

/* Above every attachment. */
#define PLACE_TOP	((const struct place) { .altitude = UINT_MAX })

static inline bool place_below(const struct place *a, const struct place *b)
{
	if (a->disk != b->disk)
		return a->disk;
	if (a->altitude != b->altitude)
		return a->altitude < b->altitude;
	return a->id > b->id;
}

/**
 * struct blkfilter_attachment - a filter on a device
 * @node: in the table, by @disk
 * @disk: what bios are looked up by
 * @bdev: the disk or partition that the filter is attached to; a reference
 * @flt: the filter's own
 * @filter_bio: copied from its operations, so that all that a bio needs is in one
 *	cache line
 * @last_step: likewise
 * @flags: likewise
 * @place: in the stack
 * @users: 1 while in the table, 1 for each CTL, and 1 for all bios that sleep
 * @bios: how many of these there are: the sum over all CPUs, so that they do not contend
 * @bios_left: likewise, once it is @dropped
 * @dropped: no longer in the table, and no new bio comes
 * @freed: where DETACH waits, if it does; set before the table's reference goes
 * @reaped: of attachments that a bio was the last user of
 * @bypassed: requests that no filter could see
 * @content: whether the device may hold something else by now
 * @told: device_removed was called
 * @parked: a rescan is under way, which the attachment may survive
 * @lost: the rescan has removed @bdev
 * @read_only: the filter denies every change
 * @marked: so @bdev was marked read-only, and was not before
 */
struct blkfilter_attachment {
	struct hlist_node node;
	struct gendisk *disk;
	struct block_device *bdev;
	struct blkfilter *flt;
	bool (*filter_bio)(struct blkfilter *flt, struct bio *bio,
			   struct blkfilter_range range);
	blk_status_t (*last_step)(struct blkfilter *flt, struct bio *bio,
				  struct blkfilter_range range);
	unsigned int flags;
	struct place place;
	refcount_t users;
	long __percpu *bios;
	atomic_long_t bios_left;
	bool dropped;
	struct completion *freed;
	struct llist_node reaped;
	atomic_long_t bypassed;
	struct content content;
	bool told;
	bool parked;
	bool lost;
	bool read_only;
	bool marked;
};

/*
 * The table. Walkers hold preemption disabled; whoever writes, or sleeps between two
 * attachments, holds stack_lock.
 */
extern DECLARE_HASHTABLE(stacks, 10);

/* Where a disk's attachments stand, perhaps among others'. */
static __always_inline struct hlist_head *stack_bucket(const struct gendisk *disk)
{
	return &stacks[hash_min((unsigned long)disk, HASH_BITS(stacks))];
}

#define stack_for_each_rcu(att, gendisk)					\
	hlist_for_each_entry_rcu_notrace(att, stack_bucket(gendisk), node)	\
		if ((att)->disk != (gendisk)) {} else

/* All attachments of all disks, in no order. */
#define stack_for_all_rcu(bucket, att)						\
	for ((bucket) = 0; (bucket) < HASH_SIZE(stacks); (bucket)++)		\
		hlist_for_each_entry_rcu_notrace(att, &stacks[bucket], node)

int stack_attach(struct block_device *bdev, struct blkfilter_operations *ops,
		 const char *options, u64 *id);
int stack_detach(struct block_device *bdev, const char *name, u64 id);
void stack_remove(struct block_device *bdev);

struct blkfilter_attachment *stack_get(struct block_device *bdev, const char *name);
void stack_put(struct blkfilter_attachment *att);

/* For a walk that has met it: keep it until stack_put_bio(), over sleeping. */
static inline void stack_get_bio(struct blkfilter_attachment *att)
{
	this_cpu_inc(*att->bios);
}

void stack_put_bio(struct blkfilter_attachment *att);
void stack_stop(void);

ssize_t stack_show(struct block_device *bdev, char *buf);
long stack_bypassed(struct block_device *bdev);

void stack_announce(struct gendisk *disk, bool surprise);
void stack_park(struct gendisk *disk);
void stack_move(struct block_device *bdev);
void stack_unpark(struct gendisk *disk);

#endif /* BLKFILTER_STACK_H */
