// SPDX-License-Identifier: GPL-2.0-only
/*
 * Following a bio from its submission to its completion.
 *
 * The block layer's tracepoints tell of requests, which are not bios: those are merged
 * and split on the way. So the bio's own callback tells: its bi_end_io is replaced, and
 * so is bi_private, which finds what to put back. Nothing else of the bio is changed.
 *
 * Who reads them meanwhile?
 *
 *	bio_endio(), for the callback. Drivers that borrow the two fields themselves
 *	(device-mapper for polled bios, blk-crypto's fallback, md, bcache) do it after
 *	the hook and give back what they found before they complete the bio; the same
 *	bio may be borrowed here more than once, when it is seen on a partition and on
 *	its disk, or sent on to another device that is traced. All that nests. Owners
 *	that read them (md's resync tells its bios by them, iomap and direct I/O link
 *	theirs by bi_private) do so before submission or after completion, and both
 *	were put back before the owner learns of it. Splits and clones do not inherit them,
 *	and what is chained to a bio holds back its one completion.
 *
 * Who learns of the completion?
 *
 *	bio_endio() has done all that precedes the callback (integrity, QoS, zones) when
 *	ours is called, so the saved one is called directly, as the next step. That is
 *	not possible for a bio that was chained to another, which bio_endio() has to
 *	end: it does so without a callback, in a loop. Calling it from here would make
 *	that loop a recursion, and chains may be long: a discard of a large disk is one.
 *	So such a bio is ended from an interrupt of its own (irq_work), each from the
 *	top of a stack. Only polled bios must be put by a task, and those have no
 *	children that pass the hook: the drivers that chain such to them do not poll.
 */
#include <linux/blkdev.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "trace.h"

/**
 * struct followed - a bio on its way
 * @stream: where the event goes
 * @bio: the bio
 * @end_io: what was replaced in it
 * @private: likewise
 * @data: the part of its data that lies in the device
 * @chained: in the list of those that are to be ended
 * @event: the event; @segments follow it there as they do here
 * @segments: memory segments, if wanted
 */
struct followed {
	struct stream *stream;
	struct bio *bio;
	bio_end_io_t *end_io;
	void *private;
	struct bvec_iter data;
	struct llist_node chained;
	struct blkfilter_trace_event event;
	struct blkfilter_trace_segment segments[];
};

static_assert(offsetof(struct followed, segments) == offsetofend(struct followed, event));

/* ---- What a bio is -------------------------------------------------------- */

static enum blkfilter_trace_op operation_of(struct bio *bio)
{
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return BLKFILTER_TRACE_OP_READ;
	case REQ_OP_WRITE:
		return (bio->bi_opf & REQ_PREFLUSH) && !bio_sectors(bio) ?
			BLKFILTER_TRACE_OP_FLUSH : BLKFILTER_TRACE_OP_WRITE;
	case REQ_OP_FLUSH:
		return BLKFILTER_TRACE_OP_FLUSH;
	case REQ_OP_DISCARD:
		return BLKFILTER_TRACE_OP_DISCARD;
	case REQ_OP_SECURE_ERASE:
		return BLKFILTER_TRACE_OP_SECURE_ERASE;
	case REQ_OP_WRITE_ZEROES:
		return BLKFILTER_TRACE_OP_WRITE_ZEROES;
	case REQ_OP_ZONE_APPEND:
		return BLKFILTER_TRACE_OP_ZONE_APPEND;
	case REQ_OP_ZONE_OPEN:
		return BLKFILTER_TRACE_OP_ZONE_OPEN;
	case REQ_OP_ZONE_CLOSE:
		return BLKFILTER_TRACE_OP_ZONE_CLOSE;
	case REQ_OP_ZONE_FINISH:
		return BLKFILTER_TRACE_OP_ZONE_FINISH;
	case REQ_OP_ZONE_RESET:
		return BLKFILTER_TRACE_OP_ZONE_RESET;
	case REQ_OP_ZONE_RESET_ALL:
		return BLKFILTER_TRACE_OP_ZONE_RESET_ALL;
	default:
		return BLKFILTER_TRACE_OP_OTHER;
	}
}

static u32 flags_of(struct bio *bio)
{
	static const struct {
		blk_opf_t from;
		u32 to;
	} flags[] = {
		{ REQ_SYNC, BLKFILTER_TRACE_SYNC },
		{ REQ_META, BLKFILTER_TRACE_META },
		{ REQ_PRIO, BLKFILTER_TRACE_PRIO },
		{ REQ_FUA, BLKFILTER_TRACE_FUA },
		{ REQ_PREFLUSH, BLKFILTER_TRACE_PREFLUSH },
		{ REQ_RAHEAD, BLKFILTER_TRACE_READAHEAD },
		{ REQ_BACKGROUND, BLKFILTER_TRACE_BACKGROUND },
		{ REQ_IDLE, BLKFILTER_TRACE_IDLE },
		{ REQ_NOWAIT, BLKFILTER_TRACE_NOWAIT },
		{ REQ_POLLED, BLKFILTER_TRACE_POLLED },
		{ REQ_SWAP, BLKFILTER_TRACE_SWAP },
	};
	unsigned int i;
	u32 found = 0;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (bio->bi_opf & flags[i].from)
			found |= flags[i].to;
	}
	return found;
}

/* follow_wanted() - does a stream want this bio? */
bool follow_wanted(const struct stream *stream, struct bio *bio,
		   struct blkfilter_range range)
{
	const struct blkfilter_trace_config *config = &stream->config;

	return (config->operations & BIT(operation_of(bio))) &&
	       range.sector + max_t(sector_t, range.count, 1) > config->sector &&
	       (!config->count || range.sector < config->sector + config->count) &&
	       (!config->task || config->task == current->tgid || config->task == current->pid) &&
	       (!config->cgroup || config->cgroup == blkfilter_bio_cgroup_id(bio));
}

/* The part of a bio's data that lies in the device. */
static struct bvec_iter data_of(struct bio *bio, struct blkfilter_range range,
				struct block_device *seen)
{
	sector_t first = bio->bi_iter.bi_sector;
	struct bvec_iter iter = bio->bi_iter;

	if (!bio_has_data(bio))
		iter.bi_size = 0;
	/* An append has its place when it is done; until then its range is the zone. */
	if (!iter.bi_size || bio_op(bio) == REQ_OP_ZONE_APPEND)
		return iter;
	/* Both places on the disk: a bio is remapped there after it was seen. */
	if (!bio_flagged(bio, BIO_REMAPPED))
		first += bio->bi_bdev->bd_start_sect;
	first = range.sector + seen->bd_start_sect - first;
	bio_advance_iter(bio, &iter, first << SECTOR_SHIFT);
	iter.bi_size = range.count << SECTOR_SHIFT;
	return iter;
}

#define for_each_segment_of(bvec, bio, iter, start)				\
	for (iter = (start);							\
	     iter.bi_size && ((bvec = mp_bvec_iter_bvec((bio)->bi_io_vec, iter)), 1); \
	     bio_advance_iter_single(bio, &iter, bvec.bv_len))

static unsigned int count_segments(struct bio *bio, struct bvec_iter data)
{
	unsigned int count = 0;
	struct bvec_iter iter;
	struct bio_vec bvec;

	for_each_segment_of(bvec, bio, iter, data)
		count++;
	return count;
}

static void describe_segments(struct followed *f, u64 position)
{
	struct blkfilter_trace_segment *segment = f->segments;
	struct bvec_iter iter;
	struct bio_vec bvec;

	for_each_segment_of(bvec, f->bio, iter, f->data) {
		*segment++ = (struct blkfilter_trace_segment) {
			.position = position,
			.offset = offset_in_page(bvec.bv_offset),
			.length = bvec.bv_len,
		};
		position += bvec.bv_len;
	}
}

static void describe(struct blkfilter_trace_event *event, struct bio *bio,
		     struct blkfilter_range range, struct block_device *seen)
{
	dev_t submitted = bio->bi_bdev->bd_dev;

	*event = (struct blkfilter_trace_event) {
		.record.type = BLKFILTER_TRACE_EVENT,
		.sector = range.sector,
		.count = range.count,
		.cgroup = blkfilter_bio_cgroup_id(bio),
		.operation = operation_of(bio),
		.flags = flags_of(bio),
		.cpu = smp_processor_id(),
		.tgid = current->tgid,
		.tid = current->pid,
		.submitted_major = MAJOR(submitted),
		.submitted_minor = MINOR(submitted),
		.seen_major = MAJOR(seen->bd_dev),
		.seen_minor = MINOR(seen->bd_dev),
		.time = ktime_get_ns(),
	};
	memcpy(event->comm, current->comm, sizeof(event->comm));
}

/* ---- Its way -------------------------------------------------------------- */

/* What bio_chain() makes a bio end with: the kernel does not export it. */
static bio_end_io_t *chain_end_io;

/**
 * struct chained_ends - bios that bio_endio() has to end
 * @bios: of struct followed
 * @work: ends them
 */
struct chained_ends {
	struct llist_head bios;
	struct irq_work work;
};

static DEFINE_PER_CPU(struct chained_ends, chained_ends);

static void end_later(struct followed *f)
{
	struct chained_ends *ends = get_cpu_ptr(&chained_ends);

	if (llist_add(&f->chained, &ends->bios))
		irq_work_queue(&ends->work);
	put_cpu_ptr(&chained_ends);
}

static void end_chained(struct irq_work *work)
{
	struct chained_ends *ends = container_of(work, struct chained_ends, work);
	struct followed *f, *next;

	llist_for_each_entry_safe(f, next, llist_del_all(&ends->bios), chained) {
		/* Its QoS was told already, and need not be there any more. */
		bio_clear_flag(f->bio, BIO_QOS_THROTTLED);
		bio_clear_flag(f->bio, BIO_QOS_MERGED);
		bio_endio(f->bio);
		percpu_ref_put(&f->stream->followed);
		kfree(f);
	}
}

/* In place of the bio's own callback, in whatever context that is called. */
static void follow_end_io(struct bio *bio)
{
	struct followed *f = bio->bi_private;
	struct blkfilter_trace_event *event = &f->event;
	struct stream *stream = f->stream;
	bio_end_io_t *end_io = f->end_io;

	bio->bi_end_io = end_io;
	bio->bi_private = f->private;

	event->latency = ktime_get_ns() - event->time;
	event->status = -blk_status_to_errno(bio->bi_status);
	if (stream->pattern.length && !event->status && bio_op(bio) == REQ_OP_READ)
		event->matches = pattern_count(&stream->pattern, bio, f->data);
	stream_put_event(stream, event);

	if (end_io == chain_end_io) {
		end_later(f);
		return;
	}
	kfree(f);
	if (end_io)
		end_io(bio);
	/* The bio may be gone. */
	percpu_ref_put(&stream->followed);
}

/*
 * follow_bio() - follow a bio to its end
 * @seen: the device that the filter is attached to
 *
 * Called with preemption disabled. A bio for which there is no memory, or that has more
 * segments than an event may, counts as lost.
 */
void follow_bio(struct stream *stream, struct bio *bio, struct blkfilter_range range,
		struct block_device *seen)
{
	struct bvec_iter data = data_of(bio, range, seen);
	unsigned int segments = 0;
	struct followed *f;

	if (!percpu_ref_tryget_live(&stream->followed))
		return;
	if (stream->config.options & BLKFILTER_TRACE_SEGMENTS)
		segments = count_segments(bio, data);
	/* Reclaim may be who submits: what it has in reserve is not for events. */
	f = segments > BLKFILTER_TRACE_SEGMENTS_MAX ? NULL :
		kmalloc(struct_size(f, segments, segments), GFP_NOWAIT | __GFP_NOWARN |
			__GFP_NOMEMALLOC);
	if (!f) {
		stream_lose_event(stream);
		percpu_ref_put(&stream->followed);
		return;
	}

	f->stream = stream;
	f->bio = bio;
	f->data = data;
	describe(&f->event, bio, range, seen);
	f->event.record.size = sizeof(f->event) + segments * sizeof(*f->segments);
	f->event.segments = segments;
	if (segments)
		describe_segments(f, range.sector << SECTOR_SHIFT);
	if (stream->pattern.length && op_is_write(bio_op(bio)))
		f->event.matches = pattern_count(&stream->pattern, bio, data);

	f->end_io = bio->bi_end_io;
	f->private = bio->bi_private;
	bio->bi_end_io = follow_end_io;
	bio->bi_private = f;
}

/* ---- Loading and unloading ------------------------------------------------ */

/* follow_start() - when the module is loaded */
void follow_start(void)
{
	struct bio child, parent;
	int cpu;

	bio_init(&child, NULL, NULL, 0, REQ_OP_READ);
	bio_init(&parent, NULL, NULL, 0, REQ_OP_READ);
	bio_chain(&child, &parent);
	chain_end_io = child.bi_end_io;
	for_each_possible_cpu(cpu)
		init_irq_work(&per_cpu(chained_ends, cpu).work, end_chained);
}

/*
 * follow_stop() - when it is unloaded, and all streams are gone: every bio has given its
 * reference back. What may still run is the way out of whoever did, in an interrupt,
 * under RCU or, preempted, in a task. Waits for as long as the slowest task takes.
 */
void follow_stop(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(&per_cpu(chained_ends, cpu).work);
	synchronize_rcu();
	synchronize_rcu_tasks();
}
