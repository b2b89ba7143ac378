// SPDX-License-Identifier: GPL-2.0-only
/* A smallest filter, to begin one's own with: no write gets to the device. */
#include <linux/module.h>
#include <linux/slab.h>

#include <linux/blk-filter.h>

struct writeblock {
	struct blkfilter flt;
	atomic64_t refused;
};

static struct blkfilter *writeblock_attach(struct block_device *bdev)
{
	struct writeblock *wb = kzalloc(sizeof(*wb), GFP_KERNEL);

	return wb ? &wb->flt : ERR_PTR(-ENOMEM);
}

static void writeblock_detach(struct blkfilter *flt)
{
	kfree(container_of(flt, struct writeblock, flt));
}

static bool writeblock_filter_bio(struct blkfilter *flt, struct bio *bio,
				  struct blkfilter_range range)
{
	struct writeblock *wb = container_of(flt, struct writeblock, flt);

	if (!blkfilter_changes_data(bio_op(bio)))
		return false;
	atomic64_inc(&wb->refused);
	bio_io_error(bio);
	return true;
}

static struct blkfilter_operations writeblock = {
	.owner = THIS_MODULE,
	.name = "writeblock",
	.attach = writeblock_attach,
	.detach = writeblock_detach,
	.filter_bio = writeblock_filter_bio,
};

static int __init writeblock_init(void)
{
	return blkfilter_register(&writeblock);
}
module_init(writeblock_init);

static void __exit writeblock_exit(void)
{
	blkfilter_unregister(&writeblock);
}
module_exit(writeblock_exit);

MODULE_DESCRIPTION("Sample filter for blkfilter: refuses all writes");
MODULE_LICENSE("GPL");
