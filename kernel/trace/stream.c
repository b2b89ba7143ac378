// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streams: what stands between the bios that complete and the file descriptor that their
 * events are read from.
 *
 * Lifetimes
 *
 *	A stream belongs to one attachment, until the filter is detached or the file is
 *	closed, whichever is first: that takes the stream out of the attachment, so that
 *	no further bio is followed. Those that are in flight complete when they will:
 *	perhaps much later, where a disk hangs or a device-mapper device is suspended.
 *	Each holds the stream (@followed), which costs nothing shared. The last one gone,
 *	the reader finds the end; when the file is closed as well, a work frees the
 *	stream, for the last bio completes in a context that must not.
 *
 *	The stream holds the module: with bios in flight it cannot be unloaded. The last
 *	reference is given back by that work, whose queue unloading destroys first.
 *
 * Waking
 *
 *	A completion should not have to wake the reader each time. So the reader says
 *	when it goes to sleep, and poll() says when it lets its caller sleep. Completions
 *	wake nobody at other times.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "trace.h"

/* Ties attachments and streams to each other. */
static DEFINE_MUTEX(stream_lock);

static struct workqueue_struct *stream_queue;

/* ---- Its end -------------------------------------------------------------- */

static void stream_free(struct work_struct *work)
{
	struct stream *stream = container_of(work, struct stream, free_work);

	rings_exit(&stream->rings);
	percpu_ref_exit(&stream->followed);
	kfree(stream);
	module_put(THIS_MODULE);
}

static void stream_put(struct stream *stream)
{
	if (refcount_dec_and_test(&stream->refs))
		queue_work(stream_queue, &stream->free_work);
}

/* The last bio has completed, after no more were taken. In any context. */
static void stream_drained(struct percpu_ref *followed)
{
	struct stream *stream = container_of(followed, struct stream, followed);

	smp_store_release(&stream->drained, true);
	wake_up_interruptible_poll(&stream->wait, EPOLLIN | EPOLLRDNORM);
	stream_put(stream);
}

static void stream_leave(struct stream *stream, u32 reason)
{
	lockdep_assert_held(&stream_lock);
	if (stream->trace)
		RCU_INIT_POINTER(stream->trace->stream, NULL);
	stream->trace = NULL;
	stream->reason = reason;
	percpu_ref_kill(&stream->followed);
}

/* stream_end() - the filter is being detached */
void stream_end(struct trace *trace)
{
	struct stream *stream;

	mutex_lock(&stream_lock);
	stream = rcu_dereference_protected(trace->stream, lockdep_is_held(&stream_lock));
	if (stream)
		stream_leave(stream, trace->reason);
	mutex_unlock(&stream_lock);
}

static int stream_release(struct inode *inode, struct file *file)
{
	struct stream *stream = file->private_data;

	mutex_lock(&stream_lock);
	if (!percpu_ref_is_dying(&stream->followed))
		stream_leave(stream, 0);
	mutex_unlock(&stream_lock);
	stream_put(stream);
	return 0;
}

/* ---- Writing -------------------------------------------------------------- */

static void stream_wake(struct stream *stream)
{
	/* Pairs with stream_ready(): it finds what was put, or is seen to sleep here. */
	smp_mb();
	if (READ_ONCE(stream->asleep)) {
		WRITE_ONCE(stream->asleep, false);
		wake_up_interruptible_poll(&stream->wait, EPOLLIN | EPOLLRDNORM);
	}
}

/* stream_put_event() - from any context, but an NMI */
void stream_put_event(struct stream *stream, const struct blkfilter_trace_event *event)
{
	rings_put(&stream->rings, &event->record);
	stream_wake(stream);
}

/* stream_lose_event() - one that there was no memory for */
void stream_lose_event(struct stream *stream)
{
	rings_lose(&stream->rings);
	stream_wake(stream);
}

/* ---- Reading -------------------------------------------------------------- */

/* Would read() have something to say? If not, whoever has asked will be woken. */
static bool stream_ready(struct stream *stream)
{
	WRITE_ONCE(stream->asleep, true);
	smp_mb();
	return smp_load_acquire(&stream->drained) || rings_readable(&stream->rings);
}

/* Records, or the end; -EAGAIN if there is nothing yet. */
static ssize_t stream_take(struct stream *stream, char __user *to, size_t room)
{
	struct blkfilter_trace_end end = {
		.record = { .size = sizeof(end), .type = BLKFILTER_TRACE_END },
	};
	/* Asked first: what is put is put before. */
	bool drained = smp_load_acquire(&stream->drained);
	ssize_t ret;

	if (stream->over)
		return 0;
	ret = rings_read(&stream->rings, to, room);
	if (ret)
		return ret;
	if (!drained)
		return -EAGAIN;
	if (room < sizeof(end))
		return -EINVAL;
	end.reason = stream->reason;
	if (copy_to_user(to, &end, sizeof(end)))
		return -EFAULT;
	stream->over = true;
	return sizeof(end);
}

static ssize_t stream_read(struct file *file, char __user *to, size_t room, loff_t *pos)
{
	struct stream *stream = file->private_data;
	ssize_t ret;

	for (;;) {
		if (mutex_lock_interruptible(&stream->reading))
			return -ERESTARTSYS;
		ret = stream_take(stream, to, room);
		mutex_unlock(&stream->reading);
		if (ret != -EAGAIN || (file->f_flags & O_NONBLOCK))
			return ret;
		if (wait_event_interruptible(stream->wait, stream_ready(stream)))
			return -ERESTARTSYS;
	}
}

static __poll_t stream_poll(struct file *file, poll_table *table)
{
	struct stream *stream = file->private_data;

	poll_wait(file, &stream->wait, table);
	return stream_ready(stream) ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations stream_fops = {
	.owner = THIS_MODULE,
	.read = stream_read,
	.poll = stream_poll,
	.release = stream_release,
	.llseek = noop_llseek,
};

/* ---- Its beginning -------------------------------------------------------- */

static struct stream *stream_create(const struct blkfilter_trace_config *config)
{
	struct stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL);
	int ret = -ENOMEM;

	if (!stream)
		return ERR_PTR(ret);
	ret = rings_init(&stream->rings, config->buffer);
	if (ret)
		goto free;
	ret = percpu_ref_init(&stream->followed, stream_drained, 0, GFP_KERNEL);
	if (ret)
		goto free_rings;

	stream->config = *config;
	pattern_set(&stream->pattern, config->pattern, config->pattern_length);
	refcount_set(&stream->refs, 2);
	INIT_WORK(&stream->free_work, stream_free);
	mutex_init(&stream->reading);
	init_waitqueue_head(&stream->wait);
	/* The caller's attachment holds the module already. */
	__module_get(THIS_MODULE);
	return stream;

free_rings:
	rings_exit(&stream->rings);
free:
	kfree(stream);
	return ERR_PTR(ret);
}

/*
 * stream_open_fd() - begin to trace
 * @file: takes what the caller installs, or puts: that closes the stream
 */
int stream_open_fd(struct trace *trace, const struct blkfilter_trace_config *config,
		   struct file **file)
{
	struct stream *stream = stream_create(config);
	int ret = 0;

	if (IS_ERR(stream))
		return PTR_ERR(stream);
	*file = anon_inode_getfile("[blkfilter_trace]", &stream_fops, stream, O_RDONLY);
	if (IS_ERR(*file)) {
		percpu_ref_kill(&stream->followed);
		stream_put(stream);
		return PTR_ERR(*file);
	}

	mutex_lock(&stream_lock);
	if (rcu_access_pointer(trace->stream)) {
		ret = -EBUSY;
	} else {
		stream->trace = trace;
		rcu_assign_pointer(trace->stream, stream);
	}
	mutex_unlock(&stream_lock);
	if (ret)
		fput(*file);
	return ret;
}

/* streams_start() - when the module is loaded */
int streams_start(void)
{
	stream_queue = alloc_workqueue("blkfilter_trace", WQ_UNBOUND, 0);
	return stream_queue ? 0 : -ENOMEM;
}

/* streams_stop() - when it is unloaded */
void streams_stop(void)
{
	destroy_workqueue(stream_queue);
}
