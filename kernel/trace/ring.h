/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_TRACE_RING_H
#define BLKFILTER_TRACE_RING_H

#include <linux/types.h>
#include <uapi/linux/blkfilter/trace.h>

struct ring;

/**
 * struct rings - buffers of records, one for each CPU
 * @each: they
 * @size: bytes of each, a power of two
 * @next: the CPU to begin reading with
 */
struct rings {
	struct ring __percpu *each;
	unsigned long size;
	unsigned int next;
};

int rings_init(struct rings *rings, unsigned long size);
void rings_exit(struct rings *rings);
void rings_put(struct rings *rings, const struct blkfilter_trace_record *record);
void rings_lose(struct rings *rings);
bool rings_readable(struct rings *rings);
ssize_t rings_read(struct rings *rings, char __user *to, size_t room);

#endif /* BLKFILTER_TRACE_RING_H */
