// SPDX-License-Identifier: GPL-2.0-only
/* Whether a disk's driver takes bios stands in a member of its device from 6.2 to 6.9. */
#include <linux/blkdev.h>

void probe_has_submit_bio(struct block_device *bdev)
{
	bdev->bd_has_submit_bio = true;
}
