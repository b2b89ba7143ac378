/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_REGISTRY_H
#define BLKFILTER_REGISTRY_H

#include <linux/blk-filter.h>

struct blkfilter_operations *registry_get(const char *name);
void registry_offer(struct block_device *bdev);
void registry_put(const struct blkfilter_operations *ops);

static inline unsigned int ops_altitude(const struct blkfilter_operations *ops)
{
	return ops->altitude ?: BLKFILTER_ALTITUDE_DEFAULT;
}

#endif /* BLKFILTER_REGISTRY_H */
