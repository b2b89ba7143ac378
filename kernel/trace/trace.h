/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_TRACE_H
#define BLKFILTER_TRACE_H

#include <linux/blk-filter.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <uapi/linux/blkfilter/trace.h>

#include "match.h"
#include "ring.h"

/**
 * struct trace - tracing of one device
 * @flt: the core's handle
 * @bdev: the device; a rescan may replace it
 * @stream: where events go, if anybody wants them; written under stream_lock
 * @reason: why a stream ends when the filter is detached
 * @config_lock: of @config
 * @config: for the next stream
 */
struct trace {
	struct blkfilter flt;
	struct block_device *bdev;
	struct stream __rcu *stream;
	u32 reason;
	struct mutex config_lock;
	struct blkfilter_trace_config config;
};

/**
 * struct stream - events on their way to a file descriptor
 * @config: what is wanted; never changes
 * @pattern: likewise
 * @rings: the events
 * @followed: bios that will still become events; stream.c says who holds the stream
 * @refs: 1 for the file, and 1 for all of @followed
 * @free_work: frees it
 * @trace: the device, as long as events are taken; under stream_lock
 * @reason: of the end; set before @followed is killed
 * @drained: no event will come any more
 * @reading: one reader at a time
 * @over: the end was read
 * @asleep: the reader wants to be woken
 * @wait: where it sleeps
 */
struct stream {
	struct blkfilter_trace_config config;
	struct pattern pattern;
	struct rings rings;
	struct percpu_ref followed;
	refcount_t refs;
	struct work_struct free_work;
	struct trace *trace;
	u32 reason;
	bool drained;
	struct mutex reading;
	bool over;
	bool asleep;
	wait_queue_head_t wait;
};

/* Operations by bit, as in struct blkfilter_trace_config. */
#define TRACE_ALL_OPERATIONS	(BIT(BLKFILTER_TRACE_OPS) - 1)

/* follow.c */
bool follow_wanted(const struct stream *stream, struct bio *bio,
		   struct blkfilter_range range);
void follow_bio(struct stream *stream, struct bio *bio, struct blkfilter_range range,
		struct block_device *seen);
void follow_start(void);
void follow_stop(void);

/* stream.c */
int stream_open_fd(struct trace *trace, const struct blkfilter_trace_config *config,
		   struct file **file);
void stream_end(struct trace *trace);
void stream_put_event(struct stream *stream, const struct blkfilter_trace_event *event);
void stream_lose_event(struct stream *stream);
int streams_start(void);
void streams_stop(void);

/* ctl.c */
void ctl_defaults(struct blkfilter_trace_config *config);
int trace_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	      __u32 *plen);

#endif /* BLKFILTER_TRACE_H */
