/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Block device filters: the ioctls on a block device's own node.
 *
 * Names, numbers and layouts are those of the "block device filtering
 * mechanism" series (v5, 2023); a program written for it runs unchanged.
 */
#ifndef _UAPI_LINUX_BLK_FILTER_H
#define _UAPI_LINUX_BLK_FILTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define BLKFILTER_NAME_LENGTH	32

/**
 * struct blkfilter_name - argument of BLKFILTER_ATTACH and BLKFILTER_DETACH
 * @name: the filter's registered name; NUL-terminated only when it is shorter
 *	than the array
 */
struct blkfilter_name {
	__u8 name[BLKFILTER_NAME_LENGTH];
};

/**
 * struct blkfilter_ctl - argument of BLKFILTER_CTL
 * @name: the name of a filter that is attached to this device
 * @cmd: a command of that filter
 * @optlen: bytes at @opt; written back with the bytes that the filter
 *	left there
 * @opt: address of the command's own argument
 */
struct blkfilter_ctl {
	__u8 name[BLKFILTER_NAME_LENGTH];
	__u32 cmd;
	__u32 optlen;
	__u64 opt;
};

#define BLKFILTER_ATTACH	_IOWR(0x12, 140, struct blkfilter_name)
#define BLKFILTER_DETACH	_IOWR(0x12, 141, struct blkfilter_name)
#define BLKFILTER_CTL		_IOWR(0x12, 142, struct blkfilter_ctl)

#endif /* _UAPI_LINUX_BLK_FILTER_H */
