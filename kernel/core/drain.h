/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_DRAIN_H
#define BLKFILTER_DRAIN_H

struct gendisk;

void drain_start(void);
int drain_dm(struct gendisk *disk, unsigned long timeout);

#endif /* BLKFILTER_DRAIN_H */
