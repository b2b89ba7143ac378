// SPDX-License-Identifier: GPL-2.0-only
/*
 * Do the hooks fire on this kernel? Asked once, when the module is loaded.
 *
 * That a function can be hooked does not say that the kernel calls it: the compiler may
 * have put it into one of its callers, or a later kernel may go another way. So a write
 * is sent to two disks of our own, of which the upper one's driver takes bios and sends
 * them on to the lower one, whose driver takes requests. A filter on each has to be
 * shown it. Then come requests without a bio, and changes of the disk's size.
 *
 * Nobody else gets to see the disks, for they are never added, and the filter, for it
 * is not registered. What is redirected by commands and by devices that go is not tried.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/blk-mq.h>
#include <linux/module.h>

#include <linux/blk-filter.h>

#include "compat.h"
#include "selftest.h"
#include "stack.h"

#define SECTORS		64

/* What is written. */
#define FIRST		8
#define COUNT		8

/**
 * struct testdisk - a disk with a filter on it
 * @flt: the filter
 * @disk: the disk
 * @below: the disk that its driver sends bios on to
 * @arrived: how often the driver got the write
 * @entered: how often the filter was shown it
 * @last: likewise, at its last step
 * @bypassed: requests that the filter has heard of
 * @size: the last one that the filter has heard of
 */
struct testdisk {
	struct blkfilter flt;
	struct gendisk *disk;
	struct testdisk *below;
	unsigned int arrived;
	unsigned int entered;
	unsigned int last;
	unsigned int bypassed;
	sector_t size;
};

/* ---- The filter ---------------------------------------------------------- */

static struct testdisk *testdisk_of(struct blkfilter *flt)
{
	return container_of(flt, struct testdisk, flt);
}

static bool is_the_write(struct bio *bio, struct blkfilter_range range)
{
	return bio_op(bio) == REQ_OP_WRITE && range.sector == FIRST && range.count == COUNT;
}

static struct blkfilter *test_attach(struct block_device *bdev)
{
	return &((struct testdisk *)bdev->bd_disk->private_data)->flt;
}

static void test_detach(struct blkfilter *flt)
{
}

static bool test_filter_bio(struct blkfilter *flt, struct bio *bio, struct blkfilter_range range)
{
	testdisk_of(flt)->entered += is_the_write(bio, range);
	return false;
}

static blk_status_t test_last_step(struct blkfilter *flt, struct bio *bio,
				   struct blkfilter_range range)
{
	testdisk_of(flt)->last += is_the_write(bio, range);
	return BLK_STS_OK;
}

static void test_resized(struct blkfilter *flt, sector_t sectors)
{
	testdisk_of(flt)->size = sectors;
}

static void test_unseen(struct blkfilter *flt, enum blkfilter_unseen why)
{
	testdisk_of(flt)->bypassed += why == BLKFILTER_UNSEEN_REQUEST;
}

static struct blkfilter_operations test_filter = {
	.name = "selftest",
	.attach = test_attach,
	.detach = test_detach,
	.flags = BLKFILTER_ATOMIC | BLKFILTER_NO_FREEZE,
	.filter_bio = test_filter_bio,
	.last_step = test_last_step,
	.resized = test_resized,
	.unseen = test_unseen,
};

/* ---- The disks ----------------------------------------------------------- */

static void upper_submit_bio(struct bio *bio)
{
	struct testdisk *upper = bio->bi_bdev->bd_disk->private_data;

	upper->arrived++;
	bio_set_dev(bio, upper->below->disk->part0);
	submit_bio_noacct(bio);
}

static blk_status_t lower_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct testdisk *lower = bd->rq->q->queuedata;

	blk_mq_start_request(bd->rq);
	lower->arrived += req_op(bd->rq) == REQ_OP_WRITE;
	blk_mq_end_request(bd->rq, BLK_STS_OK);
	return BLK_STS_OK;
}

static const struct block_device_operations upper_operations = {
	.owner = THIS_MODULE,
	.submit_bio = upper_submit_bio,
};

static const struct block_device_operations lower_operations = {
	.owner = THIS_MODULE,
};

static const struct blk_mq_ops queue_operations = {
	.queue_rq = lower_queue_rq,
};

/*
 * Make a disk that sends bios on to the one @below, or is the lowest. The upper one has a
 * queue for requests as well: where a kernel should not find its submit_bio, they go there.
 *
 * The queue is not the disk's own, as in SCSI: a disk that was never added may leave its
 * timer behind when it goes.
 */
static int testdisk_start(struct testdisk *test, struct blk_mq_tag_set *tags,
			  struct testdisk *below)
{
	static struct lock_class_key key;
	struct request_queue *q = compat_alloc_queue(tags);
	struct gendisk *disk;
	u64 id;
	int ret;

	if (IS_ERR(q))
		return PTR_ERR(q);
	q->queuedata = test;
	disk = blk_mq_alloc_disk_for_queue(q, &key);
	if (!disk) {
		ret = -ENOMEM;
		goto put_queue;
	}
	disk->fops = below ? &upper_operations : &lower_operations;
	disk->private_data = test;
	snprintf(disk->disk_name, DISK_NAME_LEN, "blkfilter-%s", below ? "upper" : "lower");
	if (below)
		compat_set_takes_bios(disk);
	set_capacity(disk, SECTORS);
	test->below = below;
	test->disk = disk;
	ret = stack_attach(disk->part0, &test_filter, NULL, &id);
	if (!ret)
		return 0;

	test->disk = NULL;
	put_disk(disk);
put_queue:
	blk_mq_destroy_queue(q);
	blk_put_queue(q);
	return ret;
}

static void testdisk_stop(struct testdisk *test)
{
	struct request_queue *q;

	if (!test->disk)
		return;
	stack_detach(test->disk->part0, test_filter.name, 0);
	q = test->disk->queue;
	put_disk(test->disk);
	blk_mq_destroy_queue(q);
	blk_put_queue(q);
}

/* ---- The test ------------------------------------------------------------ */

/* As file systems do it; the upper disk's driver calls submit_bio_noacct() itself. */
static int test_write(struct testdisk *upper)
{
	struct bio_vec vec;
	struct bio bio;
	int ret;

	bio_init(&bio, upper->disk->part0, &vec, 1, REQ_OP_WRITE);
	bio.bi_iter.bi_sector = FIRST;
	__bio_add_page(&bio, ZERO_PAGE(0), COUNT << SECTOR_SHIFT, 0);
	ret = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return ret;
}

static int test_requests(struct testdisk *lower)
{
	struct request_queue *q = lower->disk->queue;
	struct request *rq = blk_mq_alloc_request(q, REQ_OP_DRV_OUT, 0);

	if (IS_ERR(rq))
		return PTR_ERR(rq);
	blk_execute_rq(rq, false);
	blk_mq_free_request(rq);
	if (lower->bypassed != 1)
		return 0;

	rq = blk_mq_alloc_request(q, REQ_OP_DRV_OUT, 0);
	if (IS_ERR(rq))
		return PTR_ERR(rq);
	/* Frees itself, and the disk may not go before. */
	blk_execute_rq_nowait(rq, false);
	blk_freeze_queue_start(q);
	blk_mq_freeze_queue_wait(q);
	blk_mq_unfreeze_queue_nomemrestore(q);
	return 0;
}

static int fired(bool right, const char *function)
{
	if (right)
		return 0;
	pr_err("self-test failed: what should pass %s on this kernel does not, or not once; blkfilter would miss I/O here\n",
	       function);
	return -EOPNOTSUPP;
}

static int write_passed(const struct testdisk *test)
{
	return fired(test->entered == 1, "submit_bio_noacct") ?:
	       fired(test->last, "__submit_bio") ?:
	       fired(test->arrived == 1, "the disk's driver");
}

static int test_all(struct testdisk *upper, struct testdisk *lower)
{
	int ret = test_write(upper) ?: test_requests(lower);

	if (ret) {
		pr_err("self-test failed: I/O to a disk of our own (%d)\n", ret);
		return ret;
	}
	ret = write_passed(upper) ?: write_passed(lower) ?:
	      fired(lower->bypassed, "blk_execute_rq") ?:
	      fired(lower->bypassed == 2, "blk_execute_rq_nowait");
	if (ret)
		return ret;

	set_capacity(lower->disk, SECTORS + 1);
	ret = fired(lower->size == SECTORS + 1, "set_capacity");
	set_capacity_and_notify(lower->disk, SECTORS + 2);
	return ret ?: fired(lower->size == SECTORS + 2, "set_capacity_and_notify");
}

/*
 * selftest_run() - see that the hooks fire, when all is ready to attach filters
 *
 * Return: 0; -EOPNOTSUPP, with a message, where one does not; or why it cannot be seen.
 */
int selftest_run(void)
{
	struct blk_mq_tag_set tags = {
		.ops = &queue_operations,
		.nr_hw_queues = 1,
		.queue_depth = 2,
		.numa_node = NUMA_NO_NODE,
	};
	struct testdisk upper = {}, lower = {};
	int ret = blk_mq_alloc_tag_set(&tags);

	if (ret)
		return ret;
	ret = testdisk_start(&lower, &tags, NULL) ?: testdisk_start(&upper, &tags, &lower) ?:
	      test_all(&upper, &lower);
	testdisk_stop(&upper);
	testdisk_stop(&lower);
	blk_mq_free_tag_set(&tags);
	return ret;
}
