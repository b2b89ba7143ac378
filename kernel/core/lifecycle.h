/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_LIFECYCLE_H
#define BLKFILTER_LIFECYCLE_H

struct block_device;

int lifecycle_start(void);
void lifecycle_stop(void);

bool lifecycle_live(struct block_device *bdev);
void lifecycle_notify(struct block_device *bdev, const char *action,
		      const char *name);

#endif /* BLKFILTER_LIFECYCLE_H */
