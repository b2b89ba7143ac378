// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter_trace.ko: the filter "trace", a stream of every request.
 *
 * An event tells of a bio's submission and of its completion, and is written when the
 * latter comes (follow.c) to a buffer of that CPU (ring.c), from where whoever has
 * opened the stream reads it (stream.c). Without a stream nothing is done.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "trace.h"

static bool trace_filter_bio(struct blkfilter *flt, struct bio *bio,
			     struct blkfilter_range range)
{
	struct trace *trace = container_of(flt, struct trace, flt);
	struct stream *stream = rcu_dereference_sched(trace->stream);

	if (stream && follow_wanted(stream, bio, range))
		follow_bio(stream, bio, range, READ_ONCE(trace->bdev));
	return false;
}

static void trace_removed(struct blkfilter *flt, bool surprise)
{
	container_of(flt, struct trace, flt)->reason = BLKFILTER_TRACE_REMOVED;
}

static void trace_moved(struct blkfilter *flt, struct block_device *bdev)
{
	WRITE_ONCE(container_of(flt, struct trace, flt)->bdev, bdev);
}

static struct blkfilter *trace_attach(struct block_device *bdev)
{
	struct trace *trace = kzalloc(sizeof(*trace), GFP_KERNEL);

	if (!trace)
		return ERR_PTR(-ENOMEM);
	trace->bdev = bdev;
	trace->reason = BLKFILTER_TRACE_DETACHED;
	mutex_init(&trace->config_lock);
	ctl_defaults(&trace->config);
	return &trace->flt;
}

static void trace_detach(struct blkfilter *flt)
{
	struct trace *trace = container_of(flt, struct trace, flt);

	stream_end(trace);
	kfree(trace);
}

static struct blkfilter_operations trace_ops = {
	.owner = THIS_MODULE,
	.name = BLKFILTER_TRACE_NAME,
	.attach = trace_attach,
	.detach = trace_detach,
	.ctl = trace_ctl,
	.altitude = BLKFILTER_ALTITUDE_TRACE,
	.flags = BLKFILTER_ATOMIC | BLKFILTER_NO_FREEZE,
	.filter_bio = trace_filter_bio,
	.device_removed = trace_removed,
	.moved = trace_moved,
};

static int __init trace_init(void)
{
	int ret = streams_start();

	if (ret)
		return ret;
	follow_start();
	ret = blkfilter_register(&trace_ops);
	if (ret)
		streams_stop();
	return ret;
}

static void __exit trace_exit(void)
{
	blkfilter_unregister(&trace_ops);
	streams_stop();
	follow_stop();
}

module_init(trace_init);
module_exit(trace_exit);

MODULE_DESCRIPTION("A stream of every request, a filter for blkfilter");
MODULE_LICENSE("GPL");
MODULE_VERSION(BLKFILTER_VERSION);
