// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of a bio past the filters.
 *
 * Attachments stand in one hash table, by disk: a bio's bucket holds the filters
 * of the device it was submitted to, of the disk that device belongs to and of
 * the other partitions that it may overlap, so that one lookup finds them all.
 * Within a disk the partitions' filters stand before the whole disk's, and higher
 * altitudes before lower ones; a walk follows that order.
 *
 * There are two walks. Where all filters that a bio concerns are atomic it runs
 * inside the ftrace callback, with preemption disabled, takes no lock and writes
 * to no shared memory. Where one may sleep, hold or consume the bio, the task was
 * redirected here by the hook, and the bio goes on to submit_bio_noacct() at the
 * end, from this file: that is how the hook knows it (hook.c).
 *
 * Once
 *
 *	BIO_REMAPPED tells a bio that has met this device's filters; the hook leaves
 *	out bios that carry it. The kernel sets it on a partition's bio right after
 *	the hook, this file sets it on a whole disk's where a filter must not be shown
 *	one twice, and bio_set_dev() clears it when a stacking driver sends the bio on
 *	to another device. Remainders of a split and requeued bios carry it along.
 *
 * Again
 *
 *	Draining (drain.c) waits for bios that have passed the hook, but not for one
 *	that somebody holds back on its way to the device: a filter that sleeps over
 *	it, blk-throttle, a device-mapper device that is suspended, md until a flush is
 *	done, a task that sleeps in the driver of a device above. By the time that it
 *	goes on, the epoch that cbt has marked its block in may be over. So filters that
 *	ask for it (SEES_RELEASED) are shown such a bio again when it goes on, from where
 *	to its queue (or to the statistics that it is counted by) the task does not
 *	sleep. Too often does no harm there: remainders of a split are shown to them
 *	again, too. A filter that does not ask, attached above while a bio is in
 *	another's hands, does not see that bio.
 */
#include <linux/blkdev.h>
#include <linux/export.h>

#include "compat.h"
#include "stack.h"
#include "walk.h"

/* ---- What a bio touches ------------------------------------------------ */

/*
 * A zone operation says where a zone begins, and no length; an append, not where
 * in the zone it will land.
 */
static __always_inline void bio_range(struct bio *bio, struct blkfilter_range *range)
{
	range->sector = bio->bi_iter.bi_sector;
	range->count = bio_sectors(bio);
	if (likely(bio_op(bio) == REQ_OP_WRITE || bio_op(bio) == REQ_OP_READ))
		return;

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
static bool notrace range_cut(struct blkfilter_range *range, struct block_device *bdev)
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
 * Does a bio touch an attachment's device, and where? For a filter of the device
 * that the bio was submitted to this is its range as it stands, even beyond the
 * device's end: the kernel will fail such a bio, unless the device is growing right
 * now, and then the filter must have seen it. The whole disk is shown its
 * partitions' bios likewise. A bio that was remapped has its place on the disk already.
 */
static __always_inline bool bio_concerns(struct bio *bio, struct blkfilter_attachment *att,
					 struct blkfilter_range *range)
{
	struct block_device *to = bio->bi_bdev, *own = READ_ONCE(att->bdev);

	bio_range(bio, range);
	if (!bio_flagged(bio, BIO_REMAPPED)) {
		if (own == to)
			return true;
		range->sector += to->bd_start_sect;
	}
	return !bdev_is_partition(own) || range_cut(range, own);
}

/*
 * The kernel skips its own check for the device's end on a bio that carries
 * BIO_REMAPPED, so it is set only where that check would pass.
 */
static void notrace bio_set_met(struct bio *bio)
{
	sector_t end = bdev_nr_sectors(bio->bi_bdev);
	sector_t count = bio_sectors(bio);

	if (!bdev_is_partition(bio->bi_bdev) && count <= end &&
	    bio->bi_iter.bi_sector <= end - count)
		bio_set_flag(bio, BIO_REMAPPED);
}

static bool notrace is_atomic(const struct blkfilter_attachment *att)
{
	return att->flags & BLKFILTER_ATOMIC;
}

/* ---- Inside the hook --------------------------------------------------- */

/*
 * walk_atomic() - show a bio to every atomic filter that it concerns
 *
 * With preemption disabled. A filter that may sleep is met here only when it was
 * attached an instant ago: its ATTACH has still to wait for bios such as this one.
 */
void notrace walk_atomic(struct bio *bio)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;
	unsigned int common = BLKFILTER_SEES_RELEASED;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		common &= att->flags;
		if (likely(is_atomic(att)) && bio_concerns(bio, att, &range))
			att->filter_bio(att->flt, bio, range);
	}
	/* Where all are shown again what comes again, nothing tells that it does. */
	if (!common)
		bio_set_met(bio);
}

/*
 * walk_again() - a bio goes on that may have been held back
 *
 * Shown to the filters that its time matters to, whatever their altitude. With
 * preemption disabled.
 */
void notrace walk_again(struct bio *bio)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if ((att->flags & BLKFILTER_SEES_RELEASED) && bio_concerns(bio, att, &range))
			att->filter_bio(att->flt, bio, range);
	}
}

/* Is there a filter below @place that may sleep over a bio? No preemption. */
static bool notrace may_sleep_below(struct bio *bio, const struct place *place)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (!is_atomic(att) && place_below(&att->place, place) &&
		    bio_concerns(bio, att, &range))
			return true;
	}
	return false;
}

/* walk_may_sleep() - is there a filter that needs the redirect? No preemption. */
bool notrace walk_may_sleep(struct bio *bio)
{
	return may_sleep_below(bio, &PLACE_TOP);
}

/* ---- In the redirected task -------------------------------------------- */

/*
 * The next attachment below @place that a bio concerns. A walk that has slept
 * cannot follow the list from where it stood, so each step starts at the top.
 */
static struct blkfilter_attachment *walk_next(struct bio *bio, const struct place *place,
					      struct blkfilter_range *range)
{
	struct blkfilter_attachment *att;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (place_below(&att->place, place) && bio_concerns(bio, att, range))
			return att;
	}
	return NULL;
}

/* Let a filter that may sleep see a bio. True when it was consumed. */
static bool ask(struct blkfilter_attachment *att, struct bio *bio,
		struct blkfilter_range range)
{
	if (att->filter_bio)
		return att->filter_bio(att->flt, bio, range);
	return att->flt->ops->submit_bio(bio);
}

/*
 * Take a bio down the stack from below @place, and on to the device. One that must
 * not wait is sent back before any filter has seen it: its submitter comes again
 * from where it may.
 */
static void walk_down(struct bio *bio, struct place place, bool released)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;
	struct device *partition;
	bool consumed;

	preempt_disable();
	if ((bio->bi_opf & REQ_NOWAIT) && may_sleep_below(bio, &place)) {
		preempt_enable();
		bio_wouldblock_error(bio);
		return;
	}
	while ((att = walk_next(bio, &place, &range))) {
		place = att->place;
		if (is_atomic(att)) {
			att->filter_bio(att->flt, bio, range);
			continue;
		}
		stack_get_bio(att);
		/* A rescan may give the attachment another one meanwhile. */
		partition = att->place.disk ? NULL : &READ_ONCE(att->bdev)->bd_device;
		get_device(partition);
		preempt_enable();

		consumed = ask(att, bio, range);
		put_device(partition);
		stack_put_bio(att);
		if (consumed)
			return;
		released = true;
		preempt_disable();
	}
	if (released)
		walk_again(bio);
	bio_set_met(bio);
	preempt_enable();

	submit_bio_noacct(bio);
	/* No tail call: the hook knows this bio by the address it comes back to. */
	barrier();
}

/* walk_redirected() - in place of submit_bio_noacct() */
void walk_redirected(struct bio *bio)
{
	walk_down(bio, PLACE_TOP, false);
}

/**
 * blkfilter_submit_below() - send a bio that only lower altitudes see
 * @flt: the filter that sends it
 * @bio: a bio that the filter has consumed and now lets go, or one of its own to
 *	the disk or a partition that it is attached to. Must not be read any more
 *
 * From process context, also from the filter's detach callback.
 */
void blkfilter_submit_below(struct blkfilter *flt, struct bio *bio)
{
	walk_down(bio, flt->attachment->place, true);
	barrier();
}
EXPORT_SYMBOL_GPL(blkfilter_submit_below);

/* ---- What is no bio ---------------------------------------------------- */

/* walk_unseen() - @disk may hold something else from now on; without preemption */
void notrace walk_unseen(struct gendisk *disk, enum blkfilter_unseen why)
{
	struct blkfilter_attachment *att;

	stack_for_each_rcu(att, disk) {
		if (why == BLKFILTER_UNSEEN_REQUEST)
			atomic_long_inc(&att->bypassed);
		stack_tell(att, why);
	}
}

/* walk_unseen_all() - every disk may; from process context */
void walk_unseen_all(enum blkfilter_unseen why)
{
	struct blkfilter_attachment *att;
	int bucket;

	preempt_disable();
	hash_for_each_rcu(stacks, bucket, att, node)
		stack_tell(att, why);
	preempt_enable();
}

/* walk_resized() - partition @partno, or 0 for the disk, is about to be resized */
void notrace walk_resized(struct gendisk *disk, int partno, sector_t sectors)
{
	struct blkfilter_attachment *att;

	stack_for_each_rcu(att, disk) {
		if (bdev_partno(READ_ONCE(att->bdev)) == partno &&
		    att->flt->ops->resized)
			att->flt->ops->resized(att->flt, sectors);
	}
	if (!partno)
		content_resized(disk);
}
