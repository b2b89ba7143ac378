// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that come and go, and what they show of their filters.
 *
 * An interface of the kernel's class of block devices is told synchronously when
 * a disk or partition is added or removed. On removal the device is out of its
 * disk's partition table already (or its disk is no longer live), so ATTACH, which
 * looks there under open_mutex, cannot come in behind.
 *
 * The class has no exported name. Each block device points to it, so it is known
 * from the first ATTACH on, which is when it is first needed.
 *
 * Locks: open_mutex > the class's mutex > stack_lock. Registering the interface
 * takes the class's mutex, so it must not happen under either of the others.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kobject.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "compat.h"
#include "lifecycle.h"
#include "stack.h"

/* /sys/block/.../filter: what is attached, a name a line, highest altitude first. */
static ssize_t filter_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return stack_show(dev_to_bdev(dev), buf);
}
static DEVICE_ATTR_RO(filter);

static int device_added(struct device *dev COMPAT_CLASS_ARG)
{
	return device_create_file(dev, &dev_attr_filter);
}

static void device_removed(struct device *dev COMPAT_CLASS_ARG)
{
	device_remove_file(dev, &dev_attr_filter);
	stack_detach_all(dev_to_bdev(dev));
}

static struct class_interface block_interface = {
	.add_dev = device_added,
	.remove_dev = device_removed,
};

static DEFINE_MUTEX(follow_lock);
static bool following;

/* lifecycle_follow() - hear of devices from now on; @any points to their class */
int lifecycle_follow(struct block_device *any)
{
	int ret = 0;

	mutex_lock(&follow_lock);
	if (!following) {
		block_interface.class = any->bd_device.class;
		ret = class_interface_register(&block_interface);
		following = !ret;
	}
	mutex_unlock(&follow_lock);
	return ret;
}

/* lifecycle_stop() - at exit, when nothing is attached any more */
void lifecycle_stop(void)
{
	if (following)
		class_interface_unregister(&block_interface);
}

/*
 * lifecycle_live() - is this device neither gone nor going?
 *
 * Under the disk's open_mutex, which removal takes first.
 */
bool lifecycle_live(struct block_device *bdev)
{
	struct gendisk *disk = bdev->bd_disk;

	lockdep_assert_held(&disk->open_mutex);
	return disk_live(disk) && !test_bit(GD_DEAD, &disk->state) &&
	       xa_load(&disk->part_tbl, bdev_partno(bdev)) == bdev;
}

/* lifecycle_notify() - a change uevent that names the filter */
void lifecycle_notify(struct block_device *bdev, const char *action,
		      const char *name)
{
	char *env[3] = { NULL };

	env[0] = kasprintf(GFP_KERNEL, "BLKFILTER_ACTION=%s", action);
	env[1] = kasprintf(GFP_KERNEL, "BLKFILTER=%s", name);
	if (env[0] && env[1])
		kobject_uevent_env(&bdev->bd_device.kobj, KOBJ_CHANGE, env);
	else
		pr_warn("no memory for the uevent: %s of %s on %pg\n", action, name,
			bdev);
	kfree(env[0]);
	kfree(env[1]);
}
