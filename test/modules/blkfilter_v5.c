// SPDX-License-Identifier: GPL-2.0-only
/*
 * A filter as one would write it for the header of the series (v5): it knows of
 * nothing beyond the seven members that struct blkfilter_operations has there.
 *
 * Command 1 reads how many bios it has seen, and how many of them it has failed;
 * command 2 makes it fail writes from now on.
 */
#include <linux/bio.h>
#include <linux/blk-filter.h>
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

struct v5_filter {
	struct blkfilter filter;
	struct list_head link;
	struct block_device *bdev;
	atomic64_t seen, failed;
	bool failing;
};

static LIST_HEAD(v5_filters);
static DEFINE_SPINLOCK(v5_lock);

static struct blkfilter *v5_attach(struct block_device *bdev)
{
	struct v5_filter *v5 = kzalloc(sizeof(*v5), GFP_KERNEL);

	if (!v5)
		return ERR_PTR(-ENOMEM);
	v5->bdev = bdev;
	spin_lock(&v5_lock);
	list_add(&v5->link, &v5_filters);
	spin_unlock(&v5_lock);
	return &v5->filter;
}

static void v5_detach(struct blkfilter *flt)
{
	struct v5_filter *v5 = container_of(flt, struct v5_filter, filter);

	spin_lock(&v5_lock);
	list_del(&v5->link);
	spin_unlock(&v5_lock);
	kfree(v5);
}

static int v5_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
		  __u32 *plen)
{
	struct v5_filter *v5 = container_of(flt, struct v5_filter, filter);
	__u64 counts[2] = { atomic64_read(&v5->seen), atomic64_read(&v5->failed) };

	switch (cmd) {
	case 1:
		if (*plen < sizeof(counts))
			return -EINVAL;
		*plen = sizeof(counts);
		return copy_to_user(buf, counts, sizeof(counts)) ? -EFAULT : 0;
	case 2:
		WRITE_ONCE(v5->failing, true);
		return 0;
	default:
		return -ENOTTY;
	}
}

static bool v5_submit_bio(struct bio *bio)
{
	struct v5_filter *v5, *own = NULL;
	bool fail = false;

	spin_lock(&v5_lock);
	list_for_each_entry(v5, &v5_filters, link) {
		if (v5->bdev == bio->bi_bdev)
			own = v5;
	}
	if (own) {
		fail = op_is_write(bio_op(bio)) && own->failing;
		atomic64_inc(&own->seen);
		atomic64_add(fail, &own->failed);
	}
	spin_unlock(&v5_lock);
	might_sleep();
	if (fail)
		bio_io_error(bio);
	return fail;
}

static struct blkfilter_operations v5_ops = {
	.owner = THIS_MODULE,
	.name = "v5",
	.attach = v5_attach,
	.detach = v5_detach,
	.ctl = v5_ctl,
	.submit_bio = v5_submit_bio,
};

static int __init v5_init(void)
{
	return blkfilter_register(&v5_ops);
}

static void __exit v5_exit(void)
{
	blkfilter_unregister(&v5_ops);
}

module_init(v5_init);
module_exit(v5_exit);

MODULE_DESCRIPTION("A filter written for the series' header, for tests");
MODULE_LICENSE("GPL");
