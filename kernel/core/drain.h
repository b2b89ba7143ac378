/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_DRAIN_H
#define BLKFILTER_DRAIN_H

struct gendisk;

void drain_start(void);
void drain_stop(void);

void drain_switched(struct gendisk *disk);
void drain_forget(struct gendisk *disk);

/* drain_ask.c */
int drain_ask(struct gendisk *disk, unsigned long timeout);

#endif /* BLKFILTER_DRAIN_H */
