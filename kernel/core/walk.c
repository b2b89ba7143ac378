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
 * Where a bio is submitted there are two walks. Where all filters that a bio concerns are atomic it runs
 * inside the ftrace callback, with preemption disabled, takes no lock and writes
 * to no shared memory. Where one may sleep, hold or consume the bio, the task was
 * redirected here by the hook, and the bio goes on to submit_bio_noacct() at the
 * end, from this file: that is how the hook knows it (hook.c).
 *
 * Once
 *
 *	BIO_REMAPPED tells a bio that has met this device's filters; the hook leaves
 *	out bios that carry it. The kernel sets it on a partition's bio right after
 *	the hook, this file sets it on a whole disk's, and bio_set_dev() clears it when
 *	a stacking driver sends the bio on to another device. Remainders of a split and
 *	requeued bios carry it along.
 *
 * The last step
 *
 *	Between that and its queue a bio may be held back: by a filter that sleeps over
 *	it, blk-throttle, a device-mapper device that is suspended, a task that sleeps
 *	in the driver of a device above. So a filter to which the moment of a write
 *	matters looks at its last step instead (last_step), behind all of these: cbt,
 *	for the epoch that it marks a block in may be over by then, and guard, whose
 *	rules may be others by then. What comes there twice is shown twice.
 */
#include <linux/blkdev.h>
#include <linux/export.h>

#include "compat.h"
#include "stack.h"
#include "walk.h"

/* ---- What a bio touches ------------------------------------------------ */

/*
 * A zone operation says where a zone begins, and no length; an append, not where
 * in the zone it will land; and what an operation means that is not known here, may
 * be anything.
 */
static __always_inline void bio_range(struct bio *bio, struct blkfilter_range *range)
{
	range->sector = bio->bi_iter.bi_sector;
	range->count = bio_sectors(bio);
	if (likely(bio_op(bio) == REQ_OP_WRITE || bio_op(bio) == REQ_OP_READ))
		return;

	switch (bio_op(bio)) {
	case REQ_OP_FLUSH:
	case REQ_OP_DISCARD:
	case REQ_OP_SECURE_ERASE:
	case REQ_OP_WRITE_ZEROES:
	case REQ_OP_ZONE_OPEN:
	case REQ_OP_ZONE_CLOSE:
		break;
	case REQ_OP_ZONE_APPEND:
	case REQ_OP_ZONE_RESET:
	case REQ_OP_ZONE_FINISH:
		range->count = bdev_zone_sectors(bio->bi_bdev);
		break;
	default:
		/* REQ_OP_ZONE_RESET_ALL, and what is not known */
		range->sector = bio_flagged(bio, BIO_REMAPPED) ? bio->bi_bdev->bd_start_sect : 0;
		range->count = bdev_nr_sectors(bio->bi_bdev);
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

/* Does a filter look at bios where they are submitted? Some look at the last step only. */
static bool notrace looks_at_entry(const struct blkfilter_attachment *att)
{
	return att->filter_bio || !att->last_step;
}

static bool notrace may_sleep(const struct blkfilter_attachment *att)
{
	return looks_at_entry(att) && !is_atomic(att);
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

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (is_atomic(att) && att->filter_bio && bio_concerns(bio, att, &range))
			att->filter_bio(att->flt, bio, range);
	}
	bio_set_met(bio);
}

/*
 * walk_last() - show a bio to the filters that look at its last step
 *
 * With preemption disabled. walk_denied() asks those that may deny it.
 */
void notrace walk_last(struct bio *bio)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (likely(att->last_step) && !(att->flags & BLKFILTER_DENIES) &&
		    bio_concerns(bio, att, &range))
			att->last_step(att->flt, bio, range);
	}
}

/* walk_denied() - what a bio is to fail with at its last step. No preemption */
blk_status_t notrace walk_denied(struct bio *bio)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;
	blk_status_t status;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (!(att->flags & BLKFILTER_DENIES) || !bio_concerns(bio, att, &range))
			continue;
		status = att->last_step(att->flt, bio, range);
		if (status != BLK_STS_OK)
			return status;
	}
	return BLK_STS_OK;
}

/* Is there a filter below @place that may sleep over a bio? No preemption. */
static bool notrace may_sleep_below(struct bio *bio, const struct place *place)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (may_sleep(att) && place_below(&att->place, place) &&
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
		if (looks_at_entry(att) && place_below(&att->place, place) &&
		    bio_concerns(bio, att, range))
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
static void walk_down(struct bio *bio, struct place place)
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
		preempt_disable();
	}
	bio_set_met(bio);
	preempt_enable();

	submit_bio_noacct(bio);
	/* No tail call: the hook knows this bio by the address it comes back to. */
	barrier();
}

/* walk_redirected() - in place of submit_bio_noacct() */
void walk_redirected(struct bio *bio)
{
	walk_down(bio, PLACE_TOP);
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
	walk_down(bio, flt->attachment->place);
	barrier();
}
EXPORT_SYMBOL_GPL(blkfilter_submit_below);

/* ---- What is no bio ---------------------------------------------------- */

static void notrace unseen(struct blkfilter_attachment *att, enum blkfilter_unseen why)
{
	if (why == BLKFILTER_UNSEEN_REQUEST)
		atomic_long_inc(&att->bypassed);
	if (att->flt->ops->unseen)
		att->flt->ops->unseen(att->flt, why);
}

/* walk_unseen() - @disk may hold something else from now on. No preemption */
void notrace walk_unseen(struct gendisk *disk, enum blkfilter_unseen why)
{
	struct blkfilter_attachment *att;

	stack_for_each_rcu(att, disk)
		unseen(att, why);
}

/* walk_unseen_where() - likewise, one or more of the disks that @where takes; NULL takes all */
void notrace walk_unseen_where(walk_where *where, const void *what, enum blkfilter_unseen why)
{
	struct blkfilter_attachment *att;
	unsigned int bucket;

	stack_for_all_rcu(bucket, att) {
		if (!where || where(att->disk, what))
			unseen(att, why);
	}
}

/* walk_has() - is there a filter on @disk? No preemption, so that it stays in the table */
bool notrace walk_has(const struct gendisk *disk)
{
	struct blkfilter_attachment *att;

	stack_for_each_rcu(att, disk)
		return true;
	return false;
}

/* walk_has_where() - on a disk that @where takes? Likewise */
bool notrace walk_has_where(walk_where *where, const void *what)
{
	struct blkfilter_attachment *att;
	unsigned int bucket;

	stack_for_all_rcu(bucket, att) {
		if (where(att->disk, what))
			return true;
	}
	return false;
}

/* One bio of a request that a driver above has made. */
static blk_status_t notrace request_bio(struct bio *bio)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;
	blk_status_t status;

	stack_for_each_rcu(att, bio->bi_bdev->bd_disk) {
		if (!att->last_step || !bio_concerns(bio, att, &range))
			continue;
		status = att->last_step(att->flt, bio, range);
		if ((att->flags & BLKFILTER_DENIES) && status != BLK_STS_OK)
			return status;
	}
	return BLK_STS_OK;
}

/*
 * walk_request() - a driver above puts a request on a disk's queue, with no bio before it
 *
 * Its bios are copies, of the whole disk, that nobody has submitted: filters see them at
 * their last step and nowhere else. For those that look where bios are submitted it is one
 * they have not seen. Discards may have gaps between them, which is why each is shown, and
 * not the range of the request.
 *
 * Only multipath does this, and takes most errors for the path's, which it would give up to
 * try the next. What a filter denies is as when a disk is write-protected: no path helps.
 *
 * With preemption disabled. Return: what the request fails with
 */
blk_status_t notrace walk_request(struct request *rq)
{
	struct blkfilter_attachment *att;
	struct blkfilter_range range;
	blk_status_t status;
	struct bio *bio;

	__rq_for_each_bio(bio, rq) {
		status = request_bio(bio);
		if (status != BLK_STS_OK)
			return blk_path_error(status) ? BLK_STS_TARGET : status;
	}
	if (!rq->bio || !blkfilter_changes_data(req_op(rq)))
		return BLK_STS_OK;
	stack_for_each_rcu(att, rq->bio->bi_bdev->bd_disk) {
		bio = rq->bio;
		while (bio && !bio_concerns(bio, att, &range))
			bio = bio->bi_next;
		if (bio && looks_at_entry(att))
			unseen(att, BLKFILTER_UNSEEN_REQUEST);
	}
	return BLK_STS_OK;
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
