// SPDX-License-Identifier: GPL-2.0-only
/* bdev_write_page(), which writes to some devices without a bio, until 6.3. */
#include <linux/blkdev.h>

int probe_rw_page(struct block_device *bdev, struct page *page)
{
	return bdev_write_page(bdev, 0, page, NULL);
}
