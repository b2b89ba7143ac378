// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which filters are attached to which devices, and the way of a bio past them.
 *
 * Attachments stand in one hash table, by disk: a bio's bucket holds the filters
 * of the device it was submitted to, of the disk that device belongs to and of
 * the other partitions that it may overlap, so that one lookup finds them all.
 * Within a disk the partitions' filters stand before the whole disk's, and higher
 * altitudes before lower ones; the walk follows that order.
 *
 * Lifetimes
 *
 *	The walk runs with preemption disabled, takes no lock and writes to no
 *	shared memory. An attachment that was taken out of the table is freed after
 *	synchronize_rcu(), which waits for walks that may have met it.
 *
 *	CTL runs without any lock, because a filter's command may take as long as
 *	user memory takes to be paged in. It holds a reference (@users) instead,
 *	and whoever gives the last one back frees the attachment. DETACH waits for
 *	that; a device that goes away does not, since that happens under locks that
 *	other devices need.
 *
 *	An attachment holds its filter's module, the hook on I/O and the device's
 *	struct block_device. It does not hold the device open: a disk that goes away takes
 *	its filters along (lifecycle.c).
 *
 * Locks: disk->open_mutex (against removal; ATTACH holds it) > stack_lock.
 */
#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "hook.h"
#include "registry.h"
#include "stack.h"

/**
 * struct attachment - a filter on a device
 * @node: in the table, by @disk
 * @disk: what bios are looked up by
 * @bdev: the disk or partition that the filter is attached to
 * @flt: the filter's own
 * @users: 1 while in the table, and 1 for each CTL
 * @freed: where DETACH waits, if it does; set before the table's reference goes
 */
struct attachment {
	struct hlist_node node;
	struct gendisk *disk;
	struct block_device *bdev;
	struct blkfilter *flt;
	refcount_t users;
	struct completion *freed;
};

static DEFINE_MUTEX(stack_lock);
static DEFINE_HASHTABLE(stacks, 10);

/* ---- The way of a bio ------------------------------------------------- */

/*
 * A zone operation says where a zone begins, and no length; an append, not where
 * in the zone it will land.
 */
static void bio_range(struct bio *bio, struct blkfilter_range *range)
{
	range->sector = bio->bi_iter.bi_sector;
	range->count = bio_sectors(bio);

	switch (bio_op(bio)) {
	case REQ_OP_ZONE_APPEND:
	case REQ_OP_ZONE_RESET:
	case REQ_OP_ZONE_FINISH:
		range->count = bdev_zone_sectors(bio->bi_bdev);
		break;
	case REQ_OP_ZONE_RESET_ALL:
		range->sector = 0;
		range->count = bdev_nr_sectors(bio->bi_bdev);
		break;
	default:
		break;
	}
}

/* Cut @range, of the disk, to @bdev. False when nothing of it lies there. */
static bool range_cut(struct blkfilter_range *range, struct block_device *bdev)
{
	sector_t start = bdev->bd_start_sect;
	sector_t first = max(range->sector, start);
	sector_t end = min(range->sector + range->count,
			   start + bdev_nr_sectors(bdev));

	if (first >= end)
		return false;
	range->sector = first - start;
	range->count = end - first;
	return true;
}

/*
 * The walk. A filter of the device that the bio was submitted to is shown the
 * bio's range as it stands, even beyond the device's end: the kernel will fail
 * such a bio, unless the device is growing right now, and then the filter must
 * have seen it. The whole disk is shown its partitions' bios likewise.
 */
static void notrace see_bio(struct attachment *att, struct bio *bio)
{
	struct block_device *bdev = bio->bi_bdev;
	struct blkfilter_range range;

	bio_range(bio, &range);
	if (att->bdev != bdev) {
		range.sector += bdev->bd_start_sect;
		if (bdev_is_partition(att->bdev) && !range_cut(&range, att->bdev))
			return;
	}
	att->flt->ops->filter_bio(att->flt, bio, range);
}

/*
 * The kernel skips its own check for the device's end on a bio that carries
 * BIO_REMAPPED, so it is set only where that check would pass.
 */
static bool bio_inside(struct bio *bio)
{
	sector_t end = bdev_nr_sectors(bio->bi_bdev);
	sector_t count = bio_sectors(bio);

	return count <= end && bio->bi_iter.bi_sector <= end - count;
}

/*
 * stack_see_bio() - show a bio to every filter that it concerns, once
 *
 * Called for each bio at each device level, with preemption disabled; the caller
 * has left out bios with BIO_REMAPPED. That flag is what tells a bio that has
 * met this device's filters: the kernel sets it on a partition's bio right after
 * this, the core sets it on a whole disk's, and bio_set_dev() clears it when a
 * stacking driver sends the bio on to another device. Remainders of a split and
 * requeued bios carry it along.
 */
void notrace stack_see_bio(struct bio *bio)
{
	struct gendisk *disk = bio->bi_bdev->bd_disk;
	struct attachment *att;
	bool seen = false;

	hash_for_each_possible_rcu_notrace(stacks, att, node, (unsigned long)disk) {
		if (att->disk != disk)
			continue;
		see_bio(att, bio);
		seen = true;
	}
	if (seen && !bdev_is_partition(bio->bi_bdev) && bio_inside(bio))
		bio_set_flag(bio, BIO_REMAPPED);
}

/* ---- Attaching and detaching ------------------------------------------ */

static struct attachment *stack_find(struct block_device *bdev, const char *name)
{
	struct attachment *att;

	lockdep_assert_held(&stack_lock);
	hash_for_each_possible(stacks, att, node, (unsigned long)bdev->bd_disk) {
		if (att->bdev == bdev &&
		    (!name || !strncmp(att->flt->ops->name, name,
				       BLKFILTER_NAME_LENGTH)))
			return att;
	}
	return NULL;
}

/* Does @a's filter stand above @b's, on the same disk? */
static bool stands_above(struct attachment *a, struct attachment *b)
{
	bool part_a = bdev_is_partition(a->bdev);
	bool part_b = bdev_is_partition(b->bdev);

	if (part_a != part_b)
		return part_a;
	return ops_altitude(a->flt->ops) > ops_altitude(b->flt->ops);
}

static void stack_insert(struct attachment *new)
{
	struct attachment *att, *above = NULL;

	hash_for_each_possible(stacks, att, node, (unsigned long)new->disk) {
		if (att->disk != new->disk)
			continue;
		if (stands_above(new, att)) {
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
	struct attachment *att;

	if (stack_find(bdev, ops->name))
		return -EALREADY;
	hash_for_each_possible(stacks, att, node, (unsigned long)bdev->bd_disk) {
		if (att->bdev == bdev &&
		    ops_altitude(att->flt->ops) == ops_altitude(ops))
			return -EBUSY;
	}
	return 0;
}

/*
 * stack_attach() - put a filter on a device
 *
 * The caller holds the disk's open_mutex, has seen that the device is live, and
 * keeps the filter's module loaded for the time of the call.
 */
int stack_attach(struct block_device *bdev, struct blkfilter_operations *ops)
{
	struct attachment *att;
	struct blkfilter *flt;
	int ret;

	lockdep_assert_held(&bdev->bd_disk->open_mutex);

	att = kzalloc(sizeof(*att), GFP_KERNEL);
	if (!att)
		return -ENOMEM;

	ret = hook_get();
	if (ret)
		goto free;

	mutex_lock(&stack_lock);
	ret = stack_conflict(bdev, ops);
	if (ret)
		goto unlock;

	flt = ops->attach(bdev);
	if (IS_ERR_OR_NULL(flt)) {
		ret = flt ? PTR_ERR(flt) : -ENOMEM;
		goto unlock;
	}
	flt->ops = ops;

	__module_get(ops->owner);
	get_device(&bdev->bd_device);
	att->disk = bdev->bd_disk;
	att->bdev = bdev;
	att->flt = flt;
	refcount_set(&att->users, 1);
	stack_insert(att);
	mutex_unlock(&stack_lock);
	return 0;

unlock:
	mutex_unlock(&stack_lock);
	hook_put();
free:
	kfree(att);
	return ret;
}

/* The last reference is gone: no walk and no CTL is in the filter any more. */
static void attachment_free(struct attachment *att)
{
	const struct blkfilter_operations *ops = att->flt->ops;
	struct completion *freed = att->freed;

	ops->detach(att->flt);
	hook_put();
	registry_put(ops);
	put_device(&att->bdev->bd_device);
	kfree(att);
	if (freed)
		complete(freed);
}

/* Let go of what was taken out of the table. */
static void attachment_drop(struct attachment *att, struct completion *freed)
{
	synchronize_rcu();
	att->freed = freed;
	stack_put(att);
}

/*
 * stack_detach() - take the filter @name off a device
 *
 * On return no bio, and no CTL, is in the filter any more.
 */
int stack_detach(struct block_device *bdev, const char *name)
{
	DECLARE_COMPLETION_ONSTACK(freed);
	struct attachment *att;
	int ret = 0;

	mutex_lock(&stack_lock);
	att = stack_find(bdev, name);
	if (att)
		hash_del_rcu(&att->node);
	else
		ret = stack_find(bdev, NULL) ? -EINVAL : -ENOENT;
	mutex_unlock(&stack_lock);

	if (att) {
		attachment_drop(att, &freed);
		wait_for_completion(&freed);
	}
	return ret;
}

/*
 * stack_detach_all() - take every filter off a device that goes away
 *
 * From the highest altitude down, so that each filter's lower ones are still
 * there while it finishes.
 */
void stack_detach_all(struct block_device *bdev)
{
	struct attachment *att;

	for (;;) {
		mutex_lock(&stack_lock);
		att = stack_find(bdev, NULL);
		if (att)
			hash_del_rcu(&att->node);
		mutex_unlock(&stack_lock);
		if (!att)
			return;
		attachment_drop(att, NULL);
	}
}

/* ---- Using an attached filter ----------------------------------------- */

/* stack_get() - find an attached filter, and keep it until stack_put(). */
struct attachment *stack_get(struct block_device *bdev, const char *name)
{
	struct attachment *att;

	mutex_lock(&stack_lock);
	att = stack_find(bdev, name);
	if (att)
		refcount_inc(&att->users);
	mutex_unlock(&stack_lock);
	return att;
}

void stack_put(struct attachment *att)
{
	if (refcount_dec_and_test(&att->users))
		attachment_free(att);
}

struct blkfilter *stack_filter(struct attachment *att)
{
	return att->flt;
}

/* stack_show() - the names on a device, a line each, highest altitude first. */
ssize_t stack_show(struct block_device *bdev, char *buf)
{
	struct attachment *att;
	ssize_t len = 0;

	mutex_lock(&stack_lock);
	hash_for_each_possible(stacks, att, node, (unsigned long)bdev->bd_disk) {
		if (att->bdev == bdev)
			len += sysfs_emit_at(buf, len, "%s\n", att->flt->ops->name);
	}
	mutex_unlock(&stack_lock);
	return len;
}
