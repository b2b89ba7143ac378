/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_HOOK_H
#define BLKFILTER_HOOK_H

#include <linux/types.h>

struct file;
struct gendisk;

int hook_start(void);
void hook_stop(void);

/* The hooks on I/O, as bits; hook.c says what each is. */
#define HOOK_ENTRY	(1u << 0)
#define HOOK_REDIRECT	(1u << 1)
#define HOOK_LAST	(1u << 2)
#define HOOK_DENY	(1u << 3)
#define HOOK_REQUEST	(1u << 4)

int hook_get(unsigned int hooks);
void hook_put(unsigned int hooks);

/* ioctl.c: what our three commands are redirected to. */
bool ioctl_is_ours(unsigned int cmd);
long ioctl_serve(struct file *file, unsigned int cmd, unsigned long arg);

/* lifecycle.c: in place of the kernel's functions of these names. */
int lifecycle_rescan(struct gendisk *disk, bool invalidate);
void lifecycle_remove(struct gendisk *disk);
void lifecycle_mark_dead(struct gendisk *disk);

#endif /* BLKFILTER_HOOK_H */
