/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_CONTENT_H
#define BLKFILTER_CONTENT_H

#include <linux/spinlock.h>
#include <linux/types.h>

struct file;
struct gendisk;
struct table;

/**
 * struct content - of an attachment: may its device hold something else by now?
 * @mapped: it is a device-mapper device
 * @lock: held over what follows
 * @swapped: its table was swapped, and what that did was not judged yet
 * @before: the table before that; NULL if it is not known
 * @dax_told: the log says already that the device can be mapped into memory
 */
struct content {
	bool mapped;
	spinlock_t lock;
	bool swapped;
	struct table *before;
	bool dax_told;
};

int content_start(void);
void content_stop(void);

void content_init(struct content *content, struct gendisk *disk);
void content_free(struct content *content);
void content_resized(struct gendisk *disk);

/* Some of loop's ioctls, which come here in place of blkdev_ioctl(). */
bool content_is_loop_ioctl(unsigned int cmd);
long content_loop_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

#endif /* BLKFILTER_CONTENT_H */
