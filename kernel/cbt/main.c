// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter_cbt.ko: the filter "cbt", changed block tracking.
 *
 * Time is counted in epochs, and the map (map.c) knows for each block the epoch
 * of its last change. So any number of readers can ask what changed since any
 * epoch, and none disturbs another.
 */
#include <linux/module.h>
#include <linux/slab.h>

#include "cbt.h"

/*
 * A bio on its way to the device. It is marked before it is submitted: whoever
 * sees its effect on the disk finds it in the map.
 *
 * The core calls this with preemption disabled, which keeps the map, and which
 * blkfilter_drain() waits for: see cbt_checkpoint().
 */
static void cbt_filter_bio(struct blkfilter *flt, struct bio *bio,
			   struct blkfilter_range range)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);

	if (!blkfilter_changes_data(bio_op(bio)))
		return;
	map_mark(rcu_dereference_sched(cbt->map), range.sector, range.count,
		 READ_ONCE(cbt->epoch));
}

static struct blkfilter *cbt_attach(struct block_device *bdev)
{
	struct cbt *cbt = kzalloc(sizeof(*cbt), GFP_KERNEL);
	struct cbt_map *map;

	if (!cbt)
		return ERR_PTR(-ENOMEM);
	map = map_create(bdev_nr_sectors(bdev), BLKFILTER_CBT_BLOCK_SIZE_DEFAULT);
	if (!map) {
		kfree(cbt);
		return ERR_PTR(-ENOMEM);
	}
	RCU_INIT_POINTER(cbt->map, map);
	cbt->bdev = bdev;
	cbt->epoch = 1;
	init_rwsem(&cbt->lock);
	mutex_init(&cbt->checkpoint_lock);
	uuid_gen(&cbt->generation);
	cbt->gap = BLKFILTER_CBT_GAP_ATTACHED;
	return &cbt->flt;
}

static void cbt_detach(struct blkfilter *flt)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);

	map_free(rcu_dereference_protected(cbt->map, true));
	kfree(cbt);
}

static struct blkfilter_operations cbt_ops = {
	.owner = THIS_MODULE,
	.name = BLKFILTER_CBT_NAME,
	.attach = cbt_attach,
	.detach = cbt_detach,
	.ctl = cbt_ctl,
	.altitude = BLKFILTER_ALTITUDE_CBT,
	.flags = BLKFILTER_ATOMIC | BLKFILTER_NO_FREEZE,
	.filter_bio = cbt_filter_bio,
};

static int __init cbt_init(void)
{
	return blkfilter_register(&cbt_ops);
}

static void __exit cbt_exit(void)
{
	blkfilter_unregister(&cbt_ops);
}

module_init(cbt_init);
module_exit(cbt_exit);

MODULE_DESCRIPTION("Changed block tracking, a filter for blkfilter");
MODULE_LICENSE("GPL");
MODULE_VERSION(BLKFILTER_VERSION);
