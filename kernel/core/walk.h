/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_WALK_H
#define BLKFILTER_WALK_H

#include <linux/blkdev.h>

#include "stack.h"

/*
 * walk_has_nobody() - is no filter attached to a bio's disk?
 *
 * As good as always right when there is none, in a few instructions: the first thing
 * that the hook asks, for every bio of the machine. Whoever attaches a filter after
 * the question waits for the task that has asked it (drain.c).
 */
static __always_inline bool walk_has_nobody(const struct bio *bio)
{
	return hlist_empty(stack_bucket(bio->bi_bdev->bd_disk));
}

void walk_atomic(struct bio *bio);
bool walk_may_sleep(struct bio *bio);
void walk_redirected(struct bio *bio);
void walk_last(struct bio *bio);
blk_status_t walk_denied(struct bio *bio);

void walk_bypassed(struct gendisk *disk);
void walk_resized(struct gendisk *disk, int partno, sector_t sectors);

#endif /* BLKFILTER_WALK_H */
