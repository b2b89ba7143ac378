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
blk_status_t walk_request(struct request *rq);

typedef bool walk_where(struct gendisk *disk, const void *what);

bool walk_has(const struct gendisk *disk);
bool walk_has_where(walk_where *where, const void *what);
void walk_unseen(struct gendisk *disk, enum blkfilter_unseen why);
void walk_unseen_where(walk_where *where, const void *what, enum blkfilter_unseen why);
void walk_resized(struct gendisk *disk, int partno, sector_t sectors);

#endif /* BLKFILTER_WALK_H */
