// SPDX-License-Identifier: GPL-2.0-only
/* blk_alloc_disk() takes the queue's limits, and answers with an ERR_PTR (6.9). */
#include <linux/blkdev.h>

struct gendisk *probe_alloc_disk_limits(void);
struct gendisk *probe_alloc_disk_limits(void)
{
	return blk_alloc_disk((struct queue_limits *)NULL, NUMA_NO_NODE);
}
