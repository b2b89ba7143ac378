/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_STACK_H
#define BLKFILTER_STACK_H

#include <linux/blk-filter.h>

struct attachment;

int stack_attach(struct block_device *bdev, struct blkfilter_operations *ops);
int stack_detach(struct block_device *bdev, const char *name);
void stack_detach_all(struct block_device *bdev);

struct attachment *stack_get(struct block_device *bdev, const char *name);
void stack_put(struct attachment *att);
struct blkfilter *stack_filter(struct attachment *att);

ssize_t stack_show(struct block_device *bdev, char *buf);

void stack_see_bio(struct bio *bio);

#endif /* BLKFILTER_STACK_H */
