/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * trace, a stream of every request: its BLKFILTER_CTL commands and the records that
 * the stream consists of.
 *
 * Nothing is traced until a stream is opened. Sectors are 512 bytes, relative to the
 * device that the filter is attached to. Times are nanoseconds of CLOCK_MONOTONIC.
 *
 * Each command takes exactly the struct named beside it; another optlen gives
 * EINVAL. Fields named reserved must be zero. Both need CAP_SYS_ADMIN.
 */
#ifndef _UAPI_LINUX_BLKFILTER_TRACE_H
#define _UAPI_LINUX_BLKFILTER_TRACE_H

#include <linux/types.h>

#define BLKFILTER_TRACE_NAME		"trace"

#define BLKFILTER_TRACE_BUFFER_DEFAULT	(512 * 1024)
#define BLKFILTER_TRACE_BUFFER_MIN	(4 * 1024)
#define BLKFILTER_TRACE_BUFFER_MAX	(64 * 1024 * 1024)

#define BLKFILTER_TRACE_PATTERN_MAX	64
#define BLKFILTER_TRACE_SEGMENTS_MAX	8192
#define BLKFILTER_TRACE_COMM_LENGTH	16

/**
 * enum blkfilter_trace_cmd - commands, with the struct each one takes
 * @BLKFILTER_TRACE_CONFIGURE: struct blkfilter_trace_config
 * @BLKFILTER_TRACE_OPEN: struct blkfilter_trace_open
 */
enum blkfilter_trace_cmd {
	BLKFILTER_TRACE_CONFIGURE = 1,
	BLKFILTER_TRACE_OPEN = 2,
};

/**
 * enum blkfilter_trace_op - operations
 * @BLKFILTER_TRACE_OP_FLUSH: a flush without data. One that comes with a write is
 *	the flag BLKFILTER_TRACE_PREFLUSH of that write
 * @BLKFILTER_TRACE_OP_OTHER: one that this list does not know
 * @BLKFILTER_TRACE_OPS: how many there are
 */
enum blkfilter_trace_op {
	BLKFILTER_TRACE_OP_READ,
	BLKFILTER_TRACE_OP_WRITE,
	BLKFILTER_TRACE_OP_FLUSH,
	BLKFILTER_TRACE_OP_DISCARD,
	BLKFILTER_TRACE_OP_SECURE_ERASE,
	BLKFILTER_TRACE_OP_WRITE_ZEROES,
	BLKFILTER_TRACE_OP_ZONE_APPEND,
	BLKFILTER_TRACE_OP_ZONE_OPEN,
	BLKFILTER_TRACE_OP_ZONE_CLOSE,
	BLKFILTER_TRACE_OP_ZONE_FINISH,
	BLKFILTER_TRACE_OP_ZONE_RESET,
	BLKFILTER_TRACE_OP_ZONE_RESET_ALL,
	BLKFILTER_TRACE_OP_OTHER,
	BLKFILTER_TRACE_OPS,
};

/**
 * enum blkfilter_trace_flag - what else is known of a request
 * @BLKFILTER_TRACE_SYNC: somebody waits for it
 * @BLKFILTER_TRACE_META: metadata of a file system
 * @BLKFILTER_TRACE_PRIO: of high priority
 * @BLKFILTER_TRACE_FUA: done when it is on the medium
 * @BLKFILTER_TRACE_PREFLUSH: the disk's cache is written out before it
 * @BLKFILTER_TRACE_READAHEAD: nobody has asked for it yet
 * @BLKFILTER_TRACE_BACKGROUND: of background writeback
 * @BLKFILTER_TRACE_IDLE: more such requests follow, idling for them pays
 * @BLKFILTER_TRACE_NOWAIT: fails rather than to wait
 * @BLKFILTER_TRACE_POLLED: its submitter polls for its end
 * @BLKFILTER_TRACE_SWAP: of swap space
 */
enum blkfilter_trace_flag {
	BLKFILTER_TRACE_SYNC = 1 << 0,
	BLKFILTER_TRACE_META = 1 << 1,
	BLKFILTER_TRACE_PRIO = 1 << 2,
	BLKFILTER_TRACE_FUA = 1 << 3,
	BLKFILTER_TRACE_PREFLUSH = 1 << 4,
	BLKFILTER_TRACE_READAHEAD = 1 << 5,
	BLKFILTER_TRACE_BACKGROUND = 1 << 6,
	BLKFILTER_TRACE_IDLE = 1 << 7,
	BLKFILTER_TRACE_NOWAIT = 1 << 8,
	BLKFILTER_TRACE_POLLED = 1 << 9,
	BLKFILTER_TRACE_SWAP = 1 << 10,
};

/**
 * enum blkfilter_trace_option - options
 * @BLKFILTER_TRACE_SEGMENTS: events come with the memory segments of their data. Those
 *	that had more than BLKFILTER_TRACE_SEGMENTS_MAX are counted as lost
 */
enum blkfilter_trace_option {
	BLKFILTER_TRACE_SEGMENTS = 1 << 0,
};

/**
 * struct blkfilter_trace_config - what to trace, and how; for streams opened later
 * @buffer: bytes of each CPU's buffer, a power of two
 * @sector: only requests that touch sectors from here on
 * @count: only requests that touch so many; 0 for all that follow
 * @cgroup: only requests of this control group; 0 for any
 * @operations: only these, bit N for operation N; 0 for any
 * @task: only requests of the process or thread of this id; 0 for any
 * @options: of enum blkfilter_trace_option
 * @pattern_length: bytes in @pattern; 0: occurrences are not counted
 * @pattern: what to count in the data that is written or read
 */
struct blkfilter_trace_config {
	__u64 buffer;
	__u64 sector;
	__u64 count;
	__u64 cgroup;
	__u32 operations;
	__u32 task;
	__u32 options;
	__u32 pattern_length;
	__u8 pattern[BLKFILTER_TRACE_PATTERN_MAX];
};

/**
 * struct blkfilter_trace_open - open a stream
 * @fd: result: a new file descriptor, closed by execve()
 * @reserved: zero
 *
 * An attachment has one stream at a time: EBUSY while there is another. read() gives
 * as many whole records as there are and have room; EINVAL if the next has none.
 * poll() tells when there are any. After BLKFILTER_TRACE_END it gives 0.
 */
struct blkfilter_trace_open {
	__s32 fd;
	__u32 reserved;
};

/**
 * enum blkfilter_trace_type - kinds of records
 * @BLKFILTER_TRACE_EVENT: struct blkfilter_trace_event
 * @BLKFILTER_TRACE_DROPS: struct blkfilter_trace_drops
 * @BLKFILTER_TRACE_END: struct blkfilter_trace_end; the last one
 */
enum blkfilter_trace_type {
	BLKFILTER_TRACE_EVENT = 1,
	BLKFILTER_TRACE_DROPS = 2,
	BLKFILTER_TRACE_END = 3,
};

/**
 * struct blkfilter_trace_record - what every record begins with
 * @size: bytes of all of it, a multiple of 8
 * @type: of enum blkfilter_trace_type
 */
struct blkfilter_trace_record {
	__u32 size;
	__u32 type;
};

/**
 * struct blkfilter_trace_event - one request, written when it completes
 * @record: what every record begins with
 * @time: when it was submitted
 * @latency: until its completion
 * @sector: the first, of the part of it that lies in the device
 * @count: sectors of that part; 0 for a flush. For operations on zones, theirs
 * @cgroup: id of the control group that it is charged to; 0: none is known
 * @matches: occurrences of the pattern in the data of that part, at all positions
 * @operation: of enum blkfilter_trace_op
 * @flags: of enum blkfilter_trace_flag
 * @status: an errno, 0: done
 * @cpu: where it was submitted
 * @tgid: process that submitted it; it is the kernel's when that writes back
 * @tid: thread that did
 * @submitted_major: device that it was submitted to: this one, a partition of it, or
 * @submitted_minor:	the disk that it is a partition of
 * @seen_major: device that the filter is attached to
 * @seen_minor:	likewise
 * @segments: how many struct blkfilter_trace_segment follow
 * @reserved: zero
 * @comm: the thread's name
 *
 * The events of one CPU come in the order of their completion there.
 */
struct blkfilter_trace_event {
	struct blkfilter_trace_record record;
	__u64 time;
	__u64 latency;
	__u64 sector;
	__u64 count;
	__u64 cgroup;
	__u64 matches;
	__u32 operation;
	__u32 flags;
	__u32 status;
	__u32 cpu;
	__u32 tgid;
	__u32 tid;
	__u32 submitted_major;
	__u32 submitted_minor;
	__u32 seen_major;
	__u32 seen_minor;
	__u32 segments;
	__u32 reserved;
	__u8 comm[BLKFILTER_TRACE_COMM_LENGTH];
};

/**
 * struct blkfilter_trace_segment - a piece of memory that holds data of a request
 * @position: bytes of the device before the first byte
 * @offset: of the first byte in its page
 * @length: bytes; may be several pages, and need not be whole sectors
 */
struct blkfilter_trace_segment {
	__u64 position;
	__u32 offset;
	__u32 length;
};

/**
 * struct blkfilter_trace_drops - events that were lost for want of memory
 * @record: what every record begins with
 * @count: how many, since the last such record of this CPU
 * @cpu: whose
 * @reserved: zero
 */
struct blkfilter_trace_drops {
	struct blkfilter_trace_record record;
	__u64 count;
	__u32 cpu;
	__u32 reserved;
};

/**
 * enum blkfilter_trace_reason - why a stream has ended
 * @BLKFILTER_TRACE_DETACHED: the filter was detached
 * @BLKFILTER_TRACE_REMOVED: the device is gone
 */
enum blkfilter_trace_reason {
	BLKFILTER_TRACE_DETACHED = 1,
	BLKFILTER_TRACE_REMOVED = 2,
};

/**
 * struct blkfilter_trace_end - the end, when the last request in flight has completed
 * @record: what every record begins with
 * @reason: of enum blkfilter_trace_reason
 * @reserved: zero
 */
struct blkfilter_trace_end {
	struct blkfilter_trace_record record;
	__u32 reason;
	__u32 reserved;
};

#endif /* _UAPI_LINUX_BLKFILTER_TRACE_H */
