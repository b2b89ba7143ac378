/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_DRAIN_H
#define BLKFILTER_DRAIN_H

#include <linux/atomic.h>
#include <linux/blk_types.h>

struct gendisk;

extern atomic_t drain_suspends;

/*
 * drain_readahead() - a bio is on its way to its queue
 *
 * dm fails at once what is only read ahead while it is suspended, and some of its users take
 * that for an error of the disk: md on 6.1 rewrites what it could not read. So during a drain
 * it is to wait, as all other bios do.
 */
static __always_inline void drain_readahead(struct bio *bio)
{
	if (unlikely(atomic_read(&drain_suspends)))
		bio->bi_opf &= ~REQ_RAHEAD;
}

void drain_start(void);
void drain_stop(void);

void drain_switched(struct gendisk *disk);
void drain_forget(struct gendisk *disk);

/* drain_ask.c */
int drain_ask(struct gendisk *disk, unsigned long timeout);

#endif /* BLKFILTER_DRAIN_H */
