// SPDX-License-Identifier: GPL-2.0-only
/* bio_submit_split_bioset(), by which the rest of a split passes submit_bio_noacct() by, since 6.18. */
#include <linux/blkdev.h>

struct bio *probe_submit_split(struct bio *bio)
{
	return bio_submit_split_bioset(bio, 1, NULL);
}
