/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything that differs between kernels 6.1 and 7.2, found by the probes in
 * probe/ and nowhere else told apart.
 */
#ifndef BLKFILTER_COMPAT_H
#define BLKFILTER_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/device.h>
#include <linux/ftrace.h>
#include <linux/major.h>

#ifdef HAVE_ftrace_regs
static __always_inline unsigned long compat_ftrace_arg(struct ftrace_regs *fregs,
						       unsigned int n)
{
	return ftrace_regs_get_argument(fregs, n);
}

static __always_inline void compat_ftrace_set_ip(struct ftrace_regs *fregs,
						 unsigned long ip)
{
	ftrace_regs_set_instruction_pointer(fregs, ip);
}

static __always_inline unsigned long compat_ftrace_ip(struct ftrace_regs *fregs)
{
	return ftrace_regs_get_instruction_pointer(fregs);
}
#else
static __always_inline unsigned long compat_ftrace_arg(struct ftrace_regs *fregs,
						       unsigned int n)
{
	return regs_get_kernel_argument(&fregs->regs, n);
}

static __always_inline void compat_ftrace_set_ip(struct ftrace_regs *fregs,
						 unsigned long ip)
{
	ftrace_instruction_pointer_set(fregs, ip);
}

static __always_inline unsigned long compat_ftrace_ip(struct ftrace_regs *fregs)
{
	return instruction_pointer(&fregs->regs);
}
#endif

/* Without arguments in ftrace_regs the whole of the registers is needed. */
#ifdef CONFIG_DYNAMIC_FTRACE_WITH_ARGS
#define COMPAT_FTRACE_ARGS	0
#else
#define COMPAT_FTRACE_ARGS	FTRACE_OPS_FL_SAVE_REGS
#endif

#ifndef HAVE_bdev_freeze
#define bdev_freeze	freeze_bdev
#define bdev_thaw	thaw_bdev
#endif

#ifndef HAVE_bdev_partno
static inline u8 bdev_partno(const struct block_device *bdev)
{
	return bdev->bd_partno;
}
#endif

#ifdef HAVE_class_interface_arg
#define COMPAT_CLASS_ARG	, struct class_interface *intf
#else
#define COMPAT_CLASS_ARG
#endif

#ifdef HAVE_alloc_disk_limits
#define compat_alloc_disk()		blk_alloc_disk(NULL, NUMA_NO_NODE)
#define compat_alloc_queue(tags)	blk_mq_alloc_queue(tags, NULL, NULL)
#else
#define compat_alloc_disk()		blk_alloc_disk(NUMA_NO_NODE)
#define compat_alloc_queue(tags)	blk_mq_init_queue(tags)
#endif

/* What add_disk() notes of a disk whose driver takes bios: until 6.1 nothing. */
static inline void compat_set_takes_bios(struct gendisk *disk)
{
#ifdef BD_HAS_SUBMIT_BIO
	bdev_set_flag(disk->part0, BD_HAS_SUBMIT_BIO);
#elif defined(HAVE_has_submit_bio)
	disk->part0->bd_has_submit_bio = true;
#endif
}

#ifndef HAVE_nomemsave
static inline void blk_mq_unfreeze_queue_nomemrestore(struct request_queue *q)
{
	blk_mq_unfreeze_queue(q);
}
#endif

/*
 * Whether the device's user wants it read-only: what BLKROSET sets, and nobody else. A
 * disk's counts for its partitions too. What a driver knows is another flag, the disk's.
 */
#ifdef BD_READ_ONLY
static inline bool compat_bdev_marked_read_only(struct block_device *bdev)
{
	return bdev_test_flag(bdev, BD_READ_ONLY);
}

static inline void compat_bdev_set_read_only(struct block_device *bdev, bool read_only)
{
	if (read_only)
		bdev_set_flag(bdev, BD_READ_ONLY);
	else
		bdev_clear_flag(bdev, BD_READ_ONLY);
}
#else
static inline bool compat_bdev_marked_read_only(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_read_only);
}

static inline void compat_bdev_set_read_only(struct block_device *bdev, bool read_only)
{
	WRITE_ONCE(bdev->bd_read_only, read_only);
}
#endif

/*
 * Does md count each bio, whatever its I/O statistics say, and lets others wait for them by
 * mddev_suspend(mddev, interruptible)? It has done since 6.7, but no header tells: this is of
 * 6.11.
 */
#ifdef BLK_FEAT_IO_STAT
#define COMPAT_MD_COUNTS	1
#else
#define COMPAT_MD_COUNTS	0
#endif

static inline bool compat_is_md(struct gendisk *disk)
{
	/* The other major number, of arrays that are named so, is given out anew at each start. */
	return disk->major == MD_MAJOR || !strncmp(disk->disk_name, "md_d", 4);
}

/*
 * Do the I/O statistics of a bio-based device tell what is in flight? Since 6.11
 * drivers keep them only where the queue says so; before, all that complete
 * later than in their submit_bio did, md alone by the queue's flag. NVMe's heads of
 * several paths never count what waits for a path.
 */
static inline bool compat_in_flight_known(struct gendisk *disk)
{
	if (!queue_is_mq(disk->queue) && !strncmp(disk->disk_name, "nvme", 4))
		return false;
	if (queue_is_mq(disk->queue) || blk_queue_io_stat(disk->queue))
		return true;
#ifdef BLK_FEAT_IO_STAT
	/* Nothing is in flight outside of the submit_bio of a RAM disk. */
	return bdev_synchronous(disk->part0);
#else
	return !compat_is_md(disk);
#endif
}

#endif /* BLKFILTER_COMPAT_H */
