/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_GUARD_H
#define BLKFILTER_GUARD_H

#include <linux/blk-filter.h>
#include <linux/blkdev.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/timerqueue.h>
#include <linux/workqueue.h>
#include <uapi/linux/blkfilter/guard.h>

/**
 * struct guard_rules - a set of rules; constant, but for the counters
 * @serial: tells this set from those before and after it on the same device
 * @count: rules, without the default
 * @counters: of each rule, and of the default
 * @rules: they, and the default, which applies to all
 */
struct guard_rules {
	u64 serial;
	u32 count;
	u64 __percpu *counters;
	struct blkfilter_guard_rule rules[];
};

/**
 * struct guard_verdict - what becomes of a bio
 * @action: of enum blkfilter_guard_action
 * @argument: of @action
 * @serial: of the set that decided
 */
struct guard_verdict {
	u32 action;
	u32 argument;
	u64 serial;
};

/**
 * struct guard - the guard of one device
 * @flt: the core's handle
 * @bdev: the device; a rescan may replace it
 * @rules: read under RCU; replaced under both locks, read under either
 * @enforced: the rules that bios are held against at their last step; follows @rules
 *	when all that the old ones delayed has gone on
 * @rules_lock: keeps @rules for those who sleep over it
 * @held_lock: protects the three that follow
 * @held: bios that are being delayed, by the time they are due
 * @held_count: how many
 * @going: the device is: bios are let go as soon as can be
 * @held_pool: what holds them
 * @workers: a queue of its own: what releases bios may have to wait for the device,
 *	and there may be another guard, on a device below, whose release that needs
 * @release: when the first bio is due
 */
struct guard {
	struct blkfilter flt;
	struct block_device *bdev;
	struct guard_rules __rcu *rules;
	struct guard_rules __rcu *enforced;
	struct mutex rules_lock;

	spinlock_t held_lock;
	struct timerqueue_head held;
	u32 held_count;
	bool going;
	mempool_t held_pool;
	struct workqueue_struct *workers;
	struct delayed_work release;
};

struct guard_rules *rules_create(u32 count);
void rules_free(struct guard_rules *rules);
bool rules_valid(const struct guard_rules *rules);
bool rules_read_only(const struct guard_rules *rules);
struct guard_verdict rules_judge(struct guard *guard, struct bio *bio,
				 struct blkfilter_range range);
blk_status_t rules_enforce(struct guard *guard, struct bio *bio, struct blkfilter_range range);

int hold_init(struct guard *guard);
void hold_exit(struct guard *guard);
bool hold_bio(struct guard *guard, struct bio *bio, struct guard_verdict verdict);
void hold_replace_rules(struct guard *guard, struct guard_rules *rules);
void hold_no_longer(struct guard *guard);
u32 hold_count(struct guard *guard);

void guard_replace_rules(struct guard *guard, struct guard_rules *new);
int guard_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	      __u32 *plen);
int guard_configure(struct blkfilter *flt, const char *options);

#endif /* BLKFILTER_GUARD_H */
