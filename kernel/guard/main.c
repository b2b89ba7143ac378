// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter_guard.ko: the filter "guard", which denies, delays or passes requests by
 * rule: a write blocker for a disk that is in use, and a fault injector.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "guard.h"

/*
 * A bio on its way to the device. The rules may be replaced while something is found
 * to delay it with; then the new ones decide.
 */
static bool guard_filter_bio(struct blkfilter *flt, struct bio *bio,
			     struct blkfilter_range range)
{
	struct guard *guard = container_of(flt, struct guard, flt);
	struct guard_verdict verdict;

	do {
		verdict = rules_judge(guard, bio, range);
		if (verdict.action == BLKFILTER_GUARD_PASS)
			return false;
		if (verdict.action == BLKFILTER_GUARD_DENY) {
			bio->bi_status = errno_to_blk_status(-(int)verdict.argument);
			bio_endio(bio);
			return true;
		}
	} while (!hold_bio(guard, bio, verdict));
	return true;
}

static blk_status_t guard_last_step(struct blkfilter *flt, struct bio *bio,
				    struct blkfilter_range range)
{
	return rules_enforce(container_of(flt, struct guard, flt), bio, range);
}

/* What is denied stays so to the end; what is delayed must not keep the device up. */
static void guard_device_removed(struct blkfilter *flt, bool surprise)
{
	hold_no_longer(container_of(flt, struct guard, flt));
}

static void guard_moved(struct blkfilter *flt, struct block_device *bdev)
{
	WRITE_ONCE(container_of(flt, struct guard, flt)->bdev, bdev);
}

/* ---- Attaching and detaching ---------------------------------------------- */

static struct blkfilter *guard_attach(struct block_device *bdev)
{
	struct guard *guard = kzalloc(sizeof(*guard), GFP_KERNEL);
	struct guard_rules *rules = rules_create(0);
	int ret = -ENOMEM;

	if (!guard || !rules)
		goto free;
	ret = hold_init(guard);
	if (ret)
		goto free;
	mutex_init(&guard->rules_lock);
	guard->bdev = bdev;
	RCU_INIT_POINTER(guard->rules, rules);
	RCU_INIT_POINTER(guard->enforced, rules);
	return &guard->flt;

free:
	if (rules)
		rules_free(rules);
	kfree(guard);
	return ERR_PTR(ret);
}

static void guard_detach(struct blkfilter *flt)
{
	struct guard *guard = container_of(flt, struct guard, flt);

	hold_exit(guard);
	rules_free(rcu_dereference_protected(guard->rules, true));
	kfree(guard);
}

static struct blkfilter_operations guard_ops = {
	.owner = THIS_MODULE,
	.name = BLKFILTER_GUARD_NAME,
	.attach = guard_attach,
	.detach = guard_detach,
	.ctl = guard_ctl,
	.altitude = BLKFILTER_ALTITUDE_GUARD,
	.flags = BLKFILTER_NO_FREEZE | BLKFILTER_DENIES,
	.filter_bio = guard_filter_bio,
	.last_step = guard_last_step,
	.device_removed = guard_device_removed,
	.moved = guard_moved,
	.configure = guard_configure,
};

static int __init guard_init(void)
{
	return blkfilter_register(&guard_ops);
}

static void __exit guard_exit(void)
{
	blkfilter_unregister(&guard_ops);
}

module_init(guard_init);
module_exit(guard_exit);

MODULE_DESCRIPTION("Denies, delays or passes requests by rule, a filter for blkfilter");
MODULE_LICENSE("GPL");
MODULE_VERSION(BLKFILTER_VERSION);
