// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter.ko: filters for the I/O of live block devices.
 */
#include <linux/module.h>

#include <linux/blk-filter.h>

#include "hook.h"
#include "lifecycle.h"

static int __init blkfilter_init(void)
{
	return hook_ioctls();
}

static void __exit blkfilter_exit(void)
{
	hook_remove();
	lifecycle_stop();
}

module_init(blkfilter_init);
module_exit(blkfilter_exit);

MODULE_DESCRIPTION("Filters for the I/O of live block devices");
MODULE_LICENSE("GPL");
MODULE_VERSION(BLKFILTER_VERSION);
