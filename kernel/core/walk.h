/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_WALK_H
#define BLKFILTER_WALK_H

#include <linux/types.h>

struct bio;
struct block_device;
struct gendisk;

void walk_atomic(struct bio *bio);
void walk_again(struct bio *bio);
bool walk_may_sleep(struct bio *bio);
void walk_redirected(struct bio *bio);

void walk_bypassed(struct gendisk *disk);
void walk_resized(struct gendisk *disk, int partno, sector_t sectors);

#endif /* BLKFILTER_WALK_H */
