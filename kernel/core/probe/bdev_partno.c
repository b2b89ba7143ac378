// SPDX-License-Identifier: GPL-2.0-only
/* The member bd_partno became bdev_partno() in 6.10. */
#include <linux/blkdev.h>

int probe_bdev_partno(struct block_device *bdev)
{
	return bdev_partno(bdev);
}
