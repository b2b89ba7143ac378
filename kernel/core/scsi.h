/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_SCSI_H
#define BLKFILTER_SCSI_H

#include <linux/blkdev.h>
#include <linux/string.h>
#include <scsi/scsi_device.h>

/*
 * scsi_device_of() - the SCSI device that a disk is, or NULL
 *
 * The kernel may have SCSI as a module, or not at all, so this asks for the names of the
 * device's type and bus.
 */
static inline struct scsi_device *scsi_device_of(struct gendisk *disk)
{
	struct device *dev = disk_to_dev(disk)->parent;

	if (dev && dev->type && dev->type->name && !strcmp(dev->type->name, "scsi_device") &&
	    dev->bus && !strcmp(dev->bus->name, "scsi"))
		return to_scsi_device(dev);
	return NULL;
}

#endif /* BLKFILTER_SCSI_H */
