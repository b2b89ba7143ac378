/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_HOOK_H
#define BLKFILTER_HOOK_H

#include <linux/types.h>

struct file;
struct gendisk;

int hook_start(void);
void hook_stop(void);

int hook_get(bool redirect);
void hook_put(bool redirect);
int hook_sync(void);

/* ioctl.c: where our three commands, and some of loop's, are redirected to. */
bool ioctl_concerns_us(unsigned int cmd);
long ioctl_serve(struct file *file, unsigned int cmd, unsigned long arg);

/* lifecycle.c: in place of the kernel's functions of these names. */
int lifecycle_rescan(struct gendisk *disk, bool invalidate);
void lifecycle_remove(struct gendisk *disk);
void lifecycle_mark_dead(struct gendisk *disk);

#endif /* BLKFILTER_HOOK_H */
