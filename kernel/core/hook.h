/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_HOOK_H
#define BLKFILTER_HOOK_H

#include <linux/types.h>

struct file;

int hook_ioctls(void);
void hook_remove(void);
int hook_get(void);
void hook_put(void);

/* ioctl.c: what our three commands are redirected to. */
bool ioctl_is_ours(unsigned int cmd);
long ioctl_serve(struct file *file, unsigned int cmd, unsigned long arg);

#endif /* BLKFILTER_HOOK_H */
