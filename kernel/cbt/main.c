// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter_cbt.ko: the filter "cbt", changed block tracking.
 *
 * Time is counted in epochs, and the map (map.c) knows for each block the epoch
 * of its last change. So any number of readers can ask what changed since any
 * epoch, and none disturbs another.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "cbt.h"

/*
 * A bio at its last step before the device. It is marked before the device has it:
 * whoever sees its effect on the disk finds it in the map.
 *
 * The core calls this with preemption disabled, which keeps the map, and which
 * blkfilter_drain() waits for: see cbt_checkpoint().
 */
static blk_status_t cbt_last_step(struct blkfilter *flt, struct bio *bio,
				  struct blkfilter_range range)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);

	if (blkfilter_changes_data(bio_op(bio)))
		map_mark(rcu_dereference_sched(cbt->map), range.sector, range.count,
			 READ_ONCE(cbt->epoch));
	return BLK_STS_OK;
}

/* ---- What no bio tells ---------------------------------------------------- */

/*
 * These events come at times when nothing can be done about them, so they are
 * written down, and every command settles them before it does anything else.
 *
 * A device that has grown since a reader last looked is changed in its new part; and
 * one that was smaller for a while, in what it had lost: it need not be what it was.
 * The size is read both before it changes, where the event comes, and when settling,
 * which may be before as well. So @low never rises above a size that the device has
 * at a time when nobody looks.
 */
static void cbt_low(struct cbt *cbt, u64 sectors)
{
	u64 low = READ_ONCE(cbt->low);

	while (sectors < low && !try_cmpxchg(&cbt->low, &low, sectors))
		;
}

static void cbt_resized(struct blkfilter *flt, sector_t sectors)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);

	cbt_low(cbt, bdev_nr_sectors(READ_ONCE(cbt->bdev)));
	cbt_low(cbt, sectors);
}

static void cbt_unseen(struct blkfilter *flt, enum blkfilter_unseen why)
{
	static const u32 gaps[] = {
		[BLKFILTER_UNSEEN_REQUEST] = BLKFILTER_CBT_GAP_BYPASSED,
		[BLKFILTER_UNSEEN_MAPPING] = BLKFILTER_CBT_GAP_MAPPING,
		[BLKFILTER_UNSEEN_HIBERNATED] = BLKFILTER_CBT_GAP_HIBERNATED,
		[BLKFILTER_UNSEEN_FORKED] = BLKFILTER_CBT_GAP_FORKED,
	};

	WRITE_ONCE(container_of(flt, struct cbt, flt)->unseen, gaps[why]);
}

static void cbt_moved(struct blkfilter *flt, struct block_device *bdev)
{
	WRITE_ONCE(container_of(flt, struct cbt, flt)->bdev, bdev);
}

static u64 cbt_medium(struct cbt *cbt)
{
	return READ_ONCE(READ_ONCE(cbt->bdev)->bd_disk->diskseq);
}

/*
 * cbt_mark_slowly() - mark an extent of any size, and let others run meanwhile
 *
 * For whoever holds @lock. With @killable it stops when the task is being killed: false then.
 */
bool cbt_mark_slowly(struct cbt *cbt, sector_t sector, sector_t end, bool killable)
{
	struct cbt_map *map = cbt_map(cbt);
	sector_t next;

	for (; sector < end; sector = next) {
		next = map_piece_end(map, sector, end);
		map_mark(map, sector, next - sector, READ_ONCE(cbt->epoch));
		cond_resched();
		if (killable && fatal_signal_pending(current))
			return false;
	}
	return true;
}

/* Nothing is known of @sector and what follows: it is changed. */
static void cbt_distrust(struct cbt *cbt, sector_t sector)
{
	/* Whoever marks what lies there, by the map as it was, has done so. */
	synchronize_rcu();
	cbt_mark_slowly(cbt, sector, LLONG_MAX, false);
}

/*
 * Its first epoch is the current one. If a checkpoint begins another meanwhile, what
 * cbt_distrust() marks, which comes later, is marked in that, and is found from both.
 */
static void cbt_begin_generation(struct cbt *cbt, u32 gap)
{
	uuid_gen(&cbt->generation);
	cbt->gap = gap;
	epochs_restart(cbt->epochs, READ_ONCE(cbt->epoch));
}

static bool cbt_settled(struct cbt *cbt)
{
	sector_t sectors = bdev_nr_sectors(READ_ONCE(cbt->bdev));
	bool ret;

	down_read(&cbt->lock);
	ret = !READ_ONCE(cbt->unseen) && cbt->medium == cbt_medium(cbt) &&
	      READ_ONCE(cbt->low) >= sectors && map_sectors(cbt_map(cbt)) >= sectors;
	up_read(&cbt->lock);
	return ret;
}

/* cbt_settle() - take account of what no bio told */
void cbt_settle(struct cbt *cbt)
{
	sector_t sectors;
	u64 low, medium;
	u32 gap, unseen;

	blkfilter_settle(&cbt->flt);
	if (cbt_settled(cbt))
		return;
	down_write(&cbt->lock);
	unseen = xchg(&cbt->unseen, 0);
	medium = cbt_medium(cbt);
	gap = unseen ?: medium != cbt->medium ? BLKFILTER_CBT_GAP_MEDIUM : 0;
	cbt->medium = medium;

	sectors = bdev_nr_sectors(READ_ONCE(cbt->bdev));
	low = xchg(&cbt->low, sectors);
	if (sectors > map_sectors(cbt_map(cbt)))
		map_grow(cbt_map(cbt), sectors);

	if (gap) {
		cbt_begin_generation(cbt, gap);
		cbt_distrust(cbt, 0);
	} else if (low < sectors) {
		cbt_distrust(cbt, low);
	}
	up_write(&cbt->lock);
}

/* ---- Attaching and detaching ---------------------------------------------- */

static struct blkfilter *cbt_attach(struct block_device *bdev)
{
	struct cbt *cbt = kzalloc(sizeof(*cbt), GFP_KERNEL);
	struct cbt_map *map;

	if (!cbt)
		return ERR_PTR(-ENOMEM);
	map = map_create(bdev_nr_sectors(bdev), BLKFILTER_CBT_BLOCK_SIZE_DEFAULT);
	cbt->epochs = epochs_create();
	if (!map || !cbt->epochs) {
		map_free(map);
		epochs_free(cbt->epochs);
		kfree(cbt);
		return ERR_PTR(-ENOMEM);
	}
	RCU_INIT_POINTER(cbt->map, map);
	cbt->bdev = bdev;
	cbt->epoch = 1;
	init_rwsem(&cbt->lock);
	mutex_init(&cbt->checkpoint_lock);
	cbt->low = bdev_nr_sectors(bdev);
	cbt->medium = cbt_medium(cbt);
	cbt_begin_generation(cbt, BLKFILTER_CBT_GAP_ATTACHED);
	return &cbt->flt;
}

static void cbt_detach(struct blkfilter *flt)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);

	map_free(rcu_dereference_protected(cbt->map, true));
	epochs_free(cbt->epochs);
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
	.last_step = cbt_last_step,
	.moved = cbt_moved,
	.resized = cbt_resized,
	.unseen = cbt_unseen,
	.configure = cbt_options,
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
