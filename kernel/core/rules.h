/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_RULES_H
#define BLKFILTER_RULES_H

#include <linux/types.h>

struct blkfilter_operations;
struct block_device;

bool rules_want(struct block_device *bdev, const struct blkfilter_operations *ops);

#endif /* BLKFILTER_RULES_H */
