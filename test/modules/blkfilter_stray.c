// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios that no kernel of today makes:
 *
 *	echo "37 /dev/sda" > /sys/module/blkfilter_stray/parameters/operation
 *
 * submits a bio of an operation that no kernel has, to the first 4 KiB of a disk, and
 * fails as that does.
 *
 *	echo /dev/sda > /sys/module/blkfilter_stray/parameters/namesake
 *
 * calls a function with the name of one that the core hooks, as f2fs has one, but with
 * other arguments. They look like a write to the first 4 KiB of a disk; but nobody has
 * submitted that.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>

static int with_disk(const char *path, blk_opf_t operation, int (*use)(struct bio *bio))
{
	struct file *file = filp_open(path, O_RDWR, 0);
	struct bio_vec vec;
	struct bio bio;
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	bio_init(&bio, I_BDEV(file->f_mapping->host), &vec, 1, operation);
	__bio_add_page(&bio, ZERO_PAGE(0), min_t(size_t, PAGE_SIZE, SZ_4K), 0);
	ret = use(&bio);
	bio_uninit(&bio);
	filp_close(file, NULL);
	return ret;
}

static int operation_set(const char *text, const struct kernel_param *kp)
{
	unsigned int operation;
	char path[64];

	if (sscanf(text, "%u %63s", &operation, path) != 2 || operation > (__force u32)REQ_OP_MASK)
		return -EINVAL;
	return with_disk(path, (__force blk_opf_t)operation, submit_bio_wait);
}

static const struct kernel_param_ops operation_ops = { .set = operation_set };
module_param_cb(operation, &operation_ops, NULL, 0200);

/* As it stands, or the compiler gives it another name. */
static noinline __noclone int __submit_bio(struct bio *bio, unsigned long number)
{
	OPTIMIZER_HIDE_VAR(bio);
	return bio->bi_vcnt == number ? 0 : -EINVAL;
}

static int call_namesake(struct bio *bio)
{
	return __submit_bio(bio, 1);
}

static int namesake_set(const char *text, const struct kernel_param *kp)
{
	char path[64];

	if (sscanf(text, "%63s", path) != 1)
		return -EINVAL;
	return with_disk(path, REQ_OP_WRITE, call_namesake);
}

static const struct kernel_param_ops namesake_ops = { .set = namesake_set };
module_param_cb(namesake, &namesake_ops, NULL, 0200);

MODULE_DESCRIPTION("Stray bios, for tests");
MODULE_LICENSE("GPL");
