/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_RULES_H
#define BLKFILTER_RULES_H

#include <linux/list.h>
#include <linux/refcount.h>

struct blkfilter_operations;
struct block_device;

/**
 * struct rule - which devices get a filter
 * @link: in the order in which they were added
 * @users: 1 while in the list
 * @ops: the filter, whose module is held
 * @patterns: of the devices
 * @options: the filter's own, words with a space between each two
 * @read_only: with these, the filter denies every change
 */
struct rule {
	struct list_head link;
	refcount_t users;
	struct blkfilter_operations *ops;
	struct list_head patterns;
	char *options;
	bool read_only;
};

struct rule *rules_match(struct block_device *bdev, const struct blkfilter_operations *ops);
void rule_put(struct rule *rule);

#endif /* BLKFILTER_RULES_H */
