/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_CBT_H
#define BLKFILTER_CBT_H

#include <linux/blk-filter.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/uuid.h>
#include <uapi/linux/blkfilter/cbt.h>

#include "epochs.h"
#include "map.h"

/**
 * struct cbt - tracking of one device
 * @flt: the core's handle
 * @bdev: the device; a rescan may replace it
 * @map: replaced only by CONFIGURE, under @lock; marking reads it under RCU
 * @epoch: the current one; see cbt_last_step() and cbt_checkpoint()
 * @lock: read by whoever uses @map for longer than marking does, or @generation
 * @checkpoint_lock: one checkpoint at a time
 * @configured: CONFIGURE was taken already
 * @generation: constant as long as tracking has no gap
 * @gap: why it began, of enum blkfilter_cbt_gap
 * @unseen: of the gap that has come since cbt_settle(), or 0
 * @low: the smallest size, in sectors, that the device has had since cbt_settle()
 * @medium: the disk's diskseq
 * @epochs: those of this generation that readers can begin from
 */
struct cbt {
	struct blkfilter flt;
	struct block_device *bdev;
	struct cbt_map __rcu *map;
	u32 epoch;
	struct rw_semaphore lock;
	struct mutex checkpoint_lock;
	bool configured;
	uuid_t generation;
	u32 gap;
	u32 unseen;
	u64 low;
	u64 medium;
	struct cbt_epochs *epochs;
};

/* The map, for whoever holds @lock. */
static inline struct cbt_map *cbt_map(struct cbt *cbt)
{
	return rcu_dereference_protected(cbt->map, lockdep_is_held(&cbt->lock));
}

void cbt_settle(struct cbt *cbt);
int cbt_options(struct blkfilter *flt, const char *options);
bool cbt_mark_slowly(struct cbt *cbt, sector_t sector, sector_t end, bool killable);
int cbt_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	    __u32 *plen);

#endif /* BLKFILTER_CBT_H */
