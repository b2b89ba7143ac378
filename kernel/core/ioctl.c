// SPDX-License-Identifier: GPL-2.0-only
/*
 * BLKFILTER_ATTACH, BLKFILTER_DETACH and BLKFILTER_CTL, on a block device's node.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/sched/mm.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "content.h"
#include "hook.h"
#include "lifecycle.h"
#include "registry.h"
#include "stack.h"

/* A name as a string: user space ends it by a NUL only where there is room. */
struct filter_name {
	char string[BLKFILTER_NAME_LENGTH + 1];
};

static void name_from(struct filter_name *to, const __u8 *from)
{
	memcpy(to->string, from, BLKFILTER_NAME_LENGTH);
	to->string[BLKFILTER_NAME_LENGTH] = '\0';
}

/* The argument of ATTACH and DETACH, from one who may. */
static int name_read(struct filter_name *name, void __user *argp)
{
	struct blkfilter_name arg;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (copy_from_user(&arg, argp, sizeof(arg)))
		return -EFAULT;
	name_from(name, arg.name);
	return 0;
}

/*
 * Attach, and return only when each request that was submitted before has
 * completed or was seen.
 *
 * The file system is frozen outside of open_mutex, because unmounting takes that
 * while it holds what freezing waits for. The hook is in place, and the filter in
 * the table, before anything is drained; draining needs no lock: the open file
 * keeps the disk's queue. Where it fails the promise cannot be kept, and nothing
 * stays attached, but for what somebody else has put there meanwhile.
 */
static int filter_attach(struct block_device *bdev, struct blkfilter_operations *ops)
{
	bool freeze = !(ops->flags & BLKFILTER_NO_FREEZE);
	struct gendisk *disk = bdev->bd_disk;
	int ret;
	unsigned int noio;
	u64 id;

	if (freeze) {
		ret = bdev_freeze(bdev);
		if (ret)
			return ret;
	}
	/* Reclaim must not wait for a file system that this task holds back. */
	noio = memalloc_noio_save();

	mutex_lock(&disk->open_mutex);
	ret = lifecycle_live(bdev) ? stack_attach(bdev, ops, NULL, &id) : -ENODEV;
	mutex_unlock(&disk->open_mutex);

	if (!ret) {
		ret = blkfilter_drain(bdev);
		if (ret)
			stack_detach(bdev, ops->name, id);
	}
	memalloc_noio_restore(noio);
	if (freeze)
		bdev_thaw(bdev);
	return ret;
}

static int ioctl_attach(struct block_device *bdev, void __user *argp)
{
	struct blkfilter_operations *ops;
	struct filter_name name;
	int ret;

	ret = name_read(&name, argp);
	if (ret)
		return ret;

	ops = registry_get(name.string);
	if (!ops)
		return -ENOENT;
	ret = filter_attach(bdev, ops);
	registry_put(ops);
	if (!ret)
		lifecycle_notify(bdev, "attach", name.string);
	return ret;
}

/*
 * DETACH and CTL ask whether the device is there for the errno only: neither depends
 * on the answer staying true. They must not wait for open_mutex before they are done:
 * whoever has that may be rereading a partition table and wait for a bio which a filter
 * holds until a CTL, or its being detached, lets it go.
 */
static int ioctl_detach(struct block_device *bdev, void __user *argp)
{
	struct filter_name name;
	int ret;

	ret = name_read(&name, argp);
	if (ret)
		return ret;

	if (!lifecycle_live(bdev))
		return -ENODEV;
	ret = stack_detach(bdev, name.string, 0);
	if (!ret)
		lifecycle_notify(bdev, "detach", name.string);
	return ret;
}

static int ioctl_ctl(struct block_device *bdev, void __user *argp)
{
	struct blkfilter_ctl __user *uctl = argp;
	const struct blkfilter_operations *ops;
	struct blkfilter_attachment *att;
	struct blkfilter_ctl ctl;
	struct filter_name name;
	__u32 optlen;
	int ret;

	if (copy_from_user(&ctl, uctl, sizeof(ctl)))
		return -EFAULT;
	name_from(&name, ctl.name);

	if (!lifecycle_live(bdev))
		return -ENODEV;
	att = stack_get(bdev, name.string);
	if (!att)
		return -ENOENT;

	ops = att->flt->ops;
	optlen = ctl.optlen;
	ret = ops->ctl ? ops->ctl(att->flt, ctl.cmd, u64_to_user_ptr(ctl.opt),
				  &ctl.optlen) : -ENOTTY;
	/* Only then: a command that was done should not fail. */
	if (!ret && ctl.optlen != optlen && put_user(ctl.optlen, &uctl->optlen))
		ret = -EFAULT;
	stack_put(att);
	return ret;
}

bool notrace ioctl_is_ours(unsigned int cmd)
{
	return cmd == BLKFILTER_ATTACH || cmd == BLKFILTER_DETACH ||
	       cmd == BLKFILTER_CTL || content_is_loop_ioctl(cmd);
}

/*
 * ioctl_serve() - in place of blkdev_ioctl() and compat_blkdev_ioctl()
 *
 * The structs are the same for 32-bit programs; only the pointer to them differs.
 */
long ioctl_serve(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct block_device *bdev = I_BDEV(file->f_mapping->host);
	void __user *argp = in_compat_syscall() ? compat_ptr(arg) :
						  (void __user *)arg;

	switch (cmd) {
	case BLKFILTER_ATTACH:
		return ioctl_attach(bdev, argp);
	case BLKFILTER_DETACH:
		return ioctl_detach(bdev, argp);
	case BLKFILTER_CTL:
		return ioctl_ctl(bdev, argp);
	default:
		return content_loop_ioctl(file, cmd, arg);
	}
}
