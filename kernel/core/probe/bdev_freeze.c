// SPDX-License-Identifier: GPL-2.0-only
/* freeze_bdev() became bdev_freeze() in 6.8. */
#include <linux/blkdev.h>

int probe_bdev_freeze(struct block_device *bdev)
{
	return bdev_freeze(bdev);
}
