// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers of records, one for each CPU.
 *
 * A CPU writes to its own only, with interrupts off, so it needs no lock and waits for
 * nobody. One reader at a time takes from all of them. Either side publishes how far it
 * has come when it is done with the bytes: @head is released after they were written and
 * acquired before they are read, @tail the other way round.
 */
#include <linux/irqflags.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/topology.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "ring.h"

/**
 * struct ring - one CPU's buffer
 * @data: the bytes
 * @head: how many were ever written
 * @lost: records that had no room, or no memory before
 * @tail: how many bytes were ever read; the reader's
 * @told: records of those lost that the reader was told of; the reader's
 */
struct ring {
	u8 *data;
	unsigned long head;
	unsigned long lost;
	unsigned long tail ____cacheline_aligned_in_smp;
	unsigned long told;
};

/* rings_exit() - free what rings_init() took */
void rings_exit(struct rings *rings)
{
	int cpu;

	for_each_possible_cpu(cpu)
		vfree(per_cpu_ptr(rings->each, cpu)->data);
	free_percpu(rings->each);
}

/* rings_init() - allocate @size bytes, a power of two, for each CPU */
int rings_init(struct rings *rings, unsigned long size)
{
	struct ring *ring;
	int cpu;

	rings->size = size;
	rings->next = cpumask_first(cpu_possible_mask);
	rings->each = alloc_percpu(struct ring);
	if (!rings->each)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		ring = per_cpu_ptr(rings->each, cpu);
		ring->data = vmalloc_node(size, cpu_to_node(cpu));
		if (!ring->data) {
			rings_exit(rings);
			return -ENOMEM;
		}
	}
	return 0;
}

/* ---- Writing -------------------------------------------------------------- */

/* rings_put() - write a record, or count it as lost; from any context but an NMI */
void rings_put(struct rings *rings, const struct blkfilter_trace_record *record)
{
	unsigned long flags, at, first;
	struct ring *ring;

	local_irq_save(flags);
	ring = this_cpu_ptr(rings->each);
	if (record->size > rings->size - (ring->head - smp_load_acquire(&ring->tail))) {
		WRITE_ONCE(ring->lost, ring->lost + 1);
	} else {
		at = ring->head & (rings->size - 1);
		first = min_t(unsigned long, record->size, rings->size - at);
		memcpy(ring->data + at, record, first);
		memcpy(ring->data, (const u8 *)record + first, record->size - first);
		smp_store_release(&ring->head, ring->head + record->size);
	}
	local_irq_restore(flags);
}

/* rings_lose() - count a record that could not even be made */
void rings_lose(struct rings *rings)
{
	unsigned long flags;
	struct ring *ring;

	local_irq_save(flags);
	ring = this_cpu_ptr(rings->each);
	WRITE_ONCE(ring->lost, ring->lost + 1);
	local_irq_restore(flags);
}

/* ---- Reading: one at a time ----------------------------------------------- */

/* rings_readable() - would rings_read() find anything? Anyone may ask */
bool rings_readable(struct rings *rings)
{
	struct ring *ring;
	int cpu;

	for_each_possible_cpu(cpu) {
		ring = per_cpu_ptr(rings->each, cpu);
		if (READ_ONCE(ring->head) != READ_ONCE(ring->tail) ||
		    READ_ONCE(ring->lost) != READ_ONCE(ring->told))
			return true;
	}
	return false;
}

/* The bytes of the records at @tail that have room. Records never wrap within their header. */
static unsigned long ring_fitting(const struct ring *ring, unsigned long size,
				  unsigned long head, size_t room)
{
	const struct blkfilter_trace_record *record;
	unsigned long at = ring->tail;

	while (at != head) {
		record = (const void *)(ring->data + (at & (size - 1)));
		if (at + record->size - ring->tail > room)
			break;
		at += record->size;
	}
	return at - ring->tail;
}

/* Whole records of one CPU. */
static ssize_t ring_read(struct ring *ring, unsigned long size, char __user *to, size_t room)
{
	unsigned long head = smp_load_acquire(&ring->head);
	unsigned long at = ring->tail & (size - 1), bytes, first;

	if (ring->tail == head)
		return 0;
	bytes = ring_fitting(ring, size, head, room);
	if (!bytes)
		return -EINVAL;
	first = min(bytes, size - at);
	if (copy_to_user(to, ring->data + at, first) ||
	    copy_to_user(to + first, ring->data, bytes - first))
		return -EFAULT;
	smp_store_release(&ring->tail, ring->tail + bytes);
	return bytes;
}

/* What one CPU has lost since it was last told. */
static ssize_t ring_read_drops(struct ring *ring, int cpu, char __user *to, size_t room)
{
	unsigned long lost = READ_ONCE(ring->lost);
	struct blkfilter_trace_drops drops = {
		.record = { .size = sizeof(drops), .type = BLKFILTER_TRACE_DROPS },
		.count = lost - ring->told,
		.cpu = cpu,
	};

	if (!drops.count)
		return 0;
	if (room < sizeof(drops))
		return -EINVAL;
	if (copy_to_user(to, &drops, sizeof(drops)))
		return -EFAULT;
	WRITE_ONCE(ring->told, lost);
	return sizeof(drops);
}

/*
 * rings_read() - take whole records
 *
 * Each call begins where the last one had no more room: no CPU has to wait for another
 * one that is busier. Answers with the bytes taken, 0 if there are none, EINVAL if the
 * next record has no room.
 */
ssize_t rings_read(struct rings *rings, char __user *to, size_t room)
{
	unsigned int cpus = num_possible_cpus();
	ssize_t done = 0, ret;
	struct ring *ring;

	while (cpus--) {
		ring = per_cpu_ptr(rings->each, rings->next);
		ret = ring_read_drops(ring, rings->next, to + done, room - done);
		if (ret >= 0) {
			done += ret;
			ret = ring_read(ring, rings->size, to + done, room - done);
		}
		if (ret < 0)
			return done ?: ret;
		done += ret;
		rings->next = cpumask_next(rings->next, cpu_possible_mask);
		if (rings->next >= nr_cpu_ids)
			rings->next = cpumask_first(cpu_possible_mask);
	}
	return done;
}
