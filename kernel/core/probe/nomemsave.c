// SPDX-License-Identifier: GPL-2.0-only
/* blk_mq_unfreeze_queue() takes the allocation flags since 6.14. */
#include <linux/blk-mq.h>

void probe_nomemsave(struct request_queue *q)
{
	blk_mq_unfreeze_queue_nomemrestore(q);
}
