// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that come and go, and what they show of their filters.
 *
 * The kernel calls an interface of its class of block devices synchronously when a
 * disk or partition is added or removed.
 *
 * Added: before the device can be opened, and a disk before it is searched for
 * partitions, so before its first I/O. Filters are asked then whether they want it.
 *
 * Removed: the device is out of its disk's partition table already (or its disk is
 * no longer live), so ATTACH, which looks there under open_mutex, cannot come in
 * behind. But a disk takes no more I/O by then. So removal is hooked too, where it
 * begins, and filters learn of it there. Drivers say blk_mark_disk_dead() when a
 * device has gone by surprise.
 *
 * Locks: open_mutex > the class's mutex > registry_lock > stack_lock.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kobject.h>
#include <linux/slab.h>

#include "compat.h"
#include "drain.h"
#include "hook.h"
#include "lifecycle.h"
#include "registry.h"
#include "stack.h"

/* ---- sysfs ------------------------------------------------------------- */

/* /sys/block/.../filter: what is attached, a name a line, highest altitude first. */
static ssize_t filter_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return stack_show(dev_to_bdev(dev), buf);
}
static DEVICE_ATTR_RO(filter);

/*
 * /sys/block/.../filter_bypassed: requests that may have changed data and that no
 * filter could see, because they were no bios, since the first of the attached ones.
 */
static ssize_t filter_bypassed_show(struct device *dev,
				    struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%ld\n", stack_bypassed(dev_to_bdev(dev)));
}
static DEVICE_ATTR_RO(filter_bypassed);

/* ---- The class of block devices ----------------------------------------- */

/* What is there when the module is loaded is not new. */
static bool starting;

static int device_added(struct device *dev COMPAT_CLASS_ARG)
{
	int ret;

	ret = device_create_file(dev, &dev_attr_filter) ?:
	      device_create_file(dev, &dev_attr_filter_bypassed);
	if (ret)
		pr_warn("%s: no sysfs file (%d)\n", dev_name(dev), ret);
	if (starting)
		return 0;
	stack_move(dev_to_bdev(dev));
	/* A hidden disk is one of several paths to another, which is what people use. */
	if (!(dev_to_bdev(dev)->bd_disk->flags & GENHD_FL_HIDDEN))
		registry_offer(dev_to_bdev(dev));
	return 0;
}

static void device_removed(struct device *dev COMPAT_CLASS_ARG)
{
	device_remove_file(dev, &dev_attr_filter_bypassed);
	device_remove_file(dev, &dev_attr_filter);
	stack_remove(dev_to_bdev(dev));
	if (!bdev_is_partition(dev_to_bdev(dev)))
		drain_forget(dev_to_bdev(dev)->bd_disk);
}

static struct class_interface block_interface = {
	.add_dev = device_added,
	.remove_dev = device_removed,
};

/*
 * lifecycle_start() - hear of devices from now on
 *
 * The class has no exported name. Every disk points to it, also one that was only
 * allocated.
 */
int lifecycle_start(void)
{
	struct gendisk *disk = compat_alloc_disk();
	int ret;

	if (IS_ERR_OR_NULL(disk))
		return -ENOMEM;
	block_interface.class = disk_to_dev(disk)->class;
	put_disk(disk);

	starting = true;
	ret = class_interface_register(&block_interface);
	starting = false;
	return ret;
}

/* lifecycle_stop() - at exit, when nothing is attached any more */
void lifecycle_stop(void)
{
	class_interface_unregister(&block_interface);
}

/* ---- In place of the kernel's functions ---------------------------------- */

/*
 * lifecycle_rescan() - bdev_disk_changed(), under open_mutex
 *
 * With @invalidate the disk's medium is gone, and what is found later is another.
 */
int lifecycle_rescan(struct gendisk *disk, bool invalidate)
{
	int ret;

	if (!invalidate)
		stack_park(disk);
	ret = bdev_disk_changed(disk, invalidate);
	stack_unpark(disk);
	return ret;
}

/* lifecycle_remove() - del_gendisk() */
void lifecycle_remove(struct gendisk *disk)
{
	stack_announce(disk, false);
	del_gendisk(disk);
	barrier(); /* no tail call: see hook.c */
}

/* lifecycle_mark_dead() - blk_mark_disk_dead() */
void lifecycle_mark_dead(struct gendisk *disk)
{
	stack_announce(disk, true);
	blk_mark_disk_dead(disk);
	barrier();
}

/* ---- For the ioctls ------------------------------------------------------ */

/*
 * lifecycle_live() - is this device neither gone nor going?
 *
 * For a device that is open. The answer stays true under the disk's open_mutex, which
 * removal takes first.
 */
bool lifecycle_live(struct block_device *bdev)
{
	struct gendisk *disk = bdev->bd_disk;

	return disk_live(disk) && !test_bit(GD_DEAD, &disk->state) &&
	       xa_load(&disk->part_tbl, bdev_partno(bdev)) == bdev;
}

/*
 * lifecycle_notify() - a change uevent that names the filter
 *
 * It tells the device's path in sysfs, which nothing keeps there but open_mutex: the
 * folders above one that goes may be freed at any time.
 */
void lifecycle_notify(struct block_device *bdev, const char *action,
		      const char *name)
{
	struct gendisk *disk = bdev->bd_disk;
	char *env[3] = { NULL };

	env[0] = kasprintf(GFP_KERNEL, "BLKFILTER_ACTION=%s", action);
	env[1] = kasprintf(GFP_KERNEL, "BLKFILTER=%s", name);
	if (env[0] && env[1]) {
		mutex_lock(&disk->open_mutex);
		if (lifecycle_live(bdev))
			kobject_uevent_env(&bdev->bd_device.kobj, KOBJ_CHANGE, env);
		mutex_unlock(&disk->open_mutex);
	} else {
		pr_warn("no memory for the uevent: %s of %s on %pg\n", action, name,
			bdev);
	}
	kfree(env[0]);
	kfree(env[1]);
}
