// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another owner of a kernel function, as a live patch or a rival's module would be:
 *
 *	insmod blkfilter_owner.ko function=blkdev_ioctl
 *
 * Redirects it by ftrace, to where it would have gone anyway. With ends=1 the function is
 * one that takes a bio, and what goes to a disk that was never added comes to an end there:
 * to whoever has made such a disk this is a kernel that goes another way.
 */
#include <linux/bio.h>
#include <linux/ftrace.h>
#include <linux/module.h>

static char *function = "blkdev_ioctl";
module_param(function, charp, 0444);

static bool ends;
module_param(ends, bool, 0444);

static void owner_end(struct bio *bio)
{
	bio_endio(bio);
}

static void owner_callback(unsigned long ip, unsigned long parent_ip,
			   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct pt_regs *regs = ftrace_get_regs(fregs);
	struct bio *bio;

	if (!ends || !regs)
		return;
	bio = (struct bio *)regs_get_kernel_argument(regs, 0);
	if (!bio->bi_bdev->bd_dev)
		instruction_pointer_set(regs, (unsigned long)owner_end);
}

static struct ftrace_ops owner_ops = {
	.func = owner_callback,
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_SAVE_REGS,
};

static int __init owner_init(void)
{
	int ret = ftrace_set_filter(&owner_ops, function, strlen(function), 1);

	return ret ?: register_ftrace_function(&owner_ops);
}

static void __exit owner_exit(void)
{
	unregister_ftrace_function(&owner_ops);
}

module_init(owner_init);
module_exit(owner_exit);

MODULE_DESCRIPTION("Redirects a kernel function, for tests");
MODULE_LICENSE("GPL");
