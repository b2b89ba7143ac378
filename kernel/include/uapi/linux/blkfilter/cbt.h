/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * cbt, the changed block tracking filter: its BLKFILTER_CTL commands.
 *
 * Attaching the filter starts tracking in epoch 1. A checkpoint ends the
 * current epoch E and starts E + 1; "the changes since N" are the blocks that
 * were changed in epoch N or later. Sectors are 512 bytes, relative to the
 * device that the filter is attached to.
 *
 * Each command takes exactly the struct named beside it; another optlen gives
 * EINVAL. Fields named reserved must be zero.
 */
#ifndef _UAPI_LINUX_BLKFILTER_CBT_H
#define _UAPI_LINUX_BLKFILTER_CBT_H

#include <linux/types.h>

#define BLKFILTER_CBT_NAME		"cbt"

#define BLKFILTER_CBT_BLOCK_SIZE_DEFAULT	(64 * 1024)
#define BLKFILTER_CBT_BLOCK_SIZE_MIN		(4 * 1024)
#define BLKFILTER_CBT_BLOCK_SIZE_MAX		(1024 * 1024)

/* Bytes of an epoch's name, with the NUL that ends it. */
#define BLKFILTER_CBT_EPOCH_NAME_LENGTH		64
/* Epochs of a device that are listed, and those of them that may have a name. */
#define BLKFILTER_CBT_EPOCHS_MAX		128
#define BLKFILTER_CBT_EPOCHS_NAMED_MAX		64

/**
 * enum blkfilter_cbt_cmd - commands, with the struct each one takes
 * @BLKFILTER_CBT_INFO: struct blkfilter_cbt_info
 * @BLKFILTER_CBT_CONFIGURE: struct blkfilter_cbt_config (CAP_SYS_ADMIN)
 * @BLKFILTER_CBT_CHECKPOINT: struct blkfilter_cbt_checkpoint (CAP_SYS_ADMIN)
 * @BLKFILTER_CBT_CHANGES: struct blkfilter_cbt_changes
 * @BLKFILTER_CBT_BITMAP: struct blkfilter_cbt_bitmap
 * @BLKFILTER_CBT_MARK: struct blkfilter_cbt_extent (CAP_SYS_ADMIN)
 * @BLKFILTER_CBT_EPOCHS: struct blkfilter_cbt_epochs
 * @BLKFILTER_CBT_NAME_EPOCH: struct blkfilter_cbt_epoch_name (CAP_SYS_ADMIN)
 * @BLKFILTER_CBT_FORGET: struct blkfilter_cbt_forget (CAP_SYS_ADMIN)
 */
enum blkfilter_cbt_cmd {
	BLKFILTER_CBT_INFO = 1,
	BLKFILTER_CBT_CONFIGURE = 2,
	BLKFILTER_CBT_CHECKPOINT = 3,
	BLKFILTER_CBT_CHANGES = 4,
	BLKFILTER_CBT_BITMAP = 5,
	BLKFILTER_CBT_MARK = 6,
	BLKFILTER_CBT_EPOCHS = 7,
	BLKFILTER_CBT_NAME_EPOCH = 8,
	BLKFILTER_CBT_FORGET = 9,
};

/**
 * enum blkfilter_cbt_gap - why the current generation began
 * @BLKFILTER_CBT_GAP_ATTACHED: the filter was attached; what was
 *	written before is not known
 * @BLKFILTER_CBT_GAP_BYPASSED: a request that no filter can see may have changed
 *	the disk (SG_IO, NVMe passthrough)
 * @BLKFILTER_CBT_GAP_MEDIUM: the disk has got another medium
 * @BLKFILTER_CBT_GAP_MAPPING: the device may stand for another place than before: the
 *	table of a device-mapper device, or the file behind a loop device, was exchanged
 * @BLKFILTER_CBT_GAP_HIBERNATED: the machine was hibernated
 * @BLKFILTER_CBT_GAP_FORKED: the virtual machine was set back to an earlier state, or
 *	copied, with its memory
 *
 * A gap in tracking goes on in the same epochs, with all of the device reported as
 * changed in the epoch in which the gap was noticed.
 */
enum blkfilter_cbt_gap {
	BLKFILTER_CBT_GAP_ATTACHED = 1,
	BLKFILTER_CBT_GAP_BYPASSED = 2,
	BLKFILTER_CBT_GAP_MEDIUM = 3,
	BLKFILTER_CBT_GAP_MAPPING = 4,
	BLKFILTER_CBT_GAP_HIBERNATED = 5,
	BLKFILTER_CBT_GAP_FORKED = 6,
};

/**
 * struct blkfilter_cbt_info - the state of tracking (all fields are results)
 * @sectors: size of the device
 * @epoch: the current epoch
 * @memory: bytes that the map holds
 * @overreported: times that a whole area had to be reported as changed because
 *	memory for its map could not be had
 * @generation: UUID; as long as it stays the same, tracking had no gap
 * @gap: why this generation began, of enum blkfilter_cbt_gap
 * @block_size: bytes that one cell of the map stands for
 */
struct blkfilter_cbt_info {
	__u64 sectors;
	__u64 epoch;
	__u64 memory;
	__u64 overreported;
	__u8 generation[16];
	__u32 gap;
	__u32 block_size;
};

/**
 * struct blkfilter_cbt_config - options
 * @block_size: bytes, a power of two
 * @reserved: zero
 *
 * ATTACH carries no options. They follow it in this command, which is taken
 * once, before the first checkpoint (EBUSY afterwards). What changed in
 * between is carried over.
 */
struct blkfilter_cbt_config {
	__u32 block_size;
	__u32 reserved;
};

/**
 * struct blkfilter_cbt_checkpoint - start a new epoch
 * @generation: result: the generation that @epoch belongs to
 * @epoch: result: the new epoch. What changes after the call returns is
 *	reported as changed since @epoch, whenever it was submitted
 */
struct blkfilter_cbt_checkpoint {
	__u8 generation[16];
	__u64 epoch;
};

/**
 * struct blkfilter_cbt_extent - a run of sectors
 * @sector: the first
 * @count: how many
 */
struct blkfilter_cbt_extent {
	__u64 sector;
	__u64 count;
};

/**
 * struct blkfilter_cbt_changes - read changes as extents, in ascending order
 * @generation: in: the generation that @since was taken in, ESTALE if it is no
 *	longer the device's; all zero: any. Result: the current one
 * @since: in: an epoch, 1 to the current one
 * @epoch: result: the current epoch
 * @cursor: in: the sector to start at. Result: where to go on; @end when done
 * @end: in: the sector to stop before; 0 or beyond the device: the device's
 *	end. Result: where reading stops
 * @extents: in: address of an array of struct blkfilter_cbt_extent. Neighbours
 *	are merged; ends are cut to the range, so an extent is longer than what
 *	changed only by the rounding to blocks
 * @capacity: in: elements in that array, at least 1
 * @count: result: elements written
 *
 * A call returns when the array is full or the range is done.
 */
struct blkfilter_cbt_changes {
	__u8 generation[16];
	__u64 since;
	__u64 epoch;
	__u64 cursor;
	__u64 end;
	__u64 extents;
	__u32 capacity;
	__u32 count;
};

/**
 * struct blkfilter_cbt_bitmap - read changes as one bit a block
 * @generation: as in struct blkfilter_cbt_changes
 * @since: in: an epoch, 1 to the current one
 * @epoch: result: the current epoch
 * @sector: in: where the first bit stands; a multiple of the block size
 * @count: in: sectors; the last block may be cut short by the device's end
 * @bits: in: address of the bitmap; bit I of byte J (least significant first)
 *	stands for block J * 8 + I after @sector
 * @length: in: bytes at @bits, at least one bit for each block
 * @reserved: zero
 */
struct blkfilter_cbt_bitmap {
	__u8 generation[16];
	__u64 since;
	__u64 epoch;
	__u64 sector;
	__u64 count;
	__u64 bits;
	__u32 length;
	__u32 reserved;
};

/**
 * struct blkfilter_cbt_epoch - an epoch that a reader can begin from
 * @epoch: its number
 * @seconds: when it began, since 1970 by the system's clock
 * @nanoseconds: the rest of that
 * @reserved: zero
 * @name: ended by a NUL; empty when it has none
 */
struct blkfilter_cbt_epoch {
	__u64 epoch;
	__s64 seconds;
	__u32 nanoseconds;
	__u32 reserved;
	__u8 name[BLKFILTER_CBT_EPOCH_NAME_LENGTH];
};

/**
 * struct blkfilter_cbt_epochs - list the epochs of the generation
 * @generation: in: the generation that the list is to be of, ESTALE if it is no
 *	longer the device's; all zero: any. Result: the current one
 * @seconds: result: when the generation began, as in struct blkfilter_cbt_epoch
 * @nanoseconds: result: the rest of that
 * @gap: result: why it began, of enum blkfilter_cbt_gap
 * @cursor: in: the epoch to start at. Result: where to go on; 0 when done
 * @epochs: in: address of an array of struct blkfilter_cbt_epoch, ascending
 * @capacity: in: elements in that array, at least 1
 * @count: result: elements written
 *
 * Listed are the epoch that the generation began in, and those that a checkpoint
 * began and did not fail. Beyond BLKFILTER_CBT_EPOCHS_MAX the oldest that has no
 * name is dropped; as a @since it is as good as before. A new generation empties
 * the list.
 */
struct blkfilter_cbt_epochs {
	__u8 generation[16];
	__s64 seconds;
	__u32 nanoseconds;
	__u32 gap;
	__u64 cursor;
	__u64 epochs;
	__u32 capacity;
	__u32 count;
};

/**
 * struct blkfilter_cbt_epoch_name - give an epoch a name
 * @generation: in: the generation that @epoch belongs to, ESTALE if it is no
 *	longer the device's; all zero: any
 * @epoch: in: one that is listed, ENODATA if it is not, EEXIST if it has another
 *	name
 * @name: in: ended by a NUL: letters, digits, '_' and '-' (of ASCII), the first a
 *	letter or '_'. If another epoch has it, it loses it. ENOSPC if there are
 *	BLKFILTER_CBT_EPOCHS_NAMED_MAX names
 */
struct blkfilter_cbt_epoch_name {
	__u8 generation[16];
	__u64 epoch;
	__u8 name[BLKFILTER_CBT_EPOCH_NAME_LENGTH];
};

/**
 * struct blkfilter_cbt_forget - take a name away
 * @name: in: as in struct blkfilter_cbt_epoch_name; ENODATA if no epoch has it
 */
struct blkfilter_cbt_forget {
	__u8 name[BLKFILTER_CBT_EPOCH_NAME_LENGTH];
};

#endif /* _UAPI_LINUX_BLKFILTER_CBT_H */
