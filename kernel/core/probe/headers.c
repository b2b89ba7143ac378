// SPDX-License-Identifier: GPL-2.0-only
/* The control: compiles on every kernel, or no probe means anything. */
#include <linux/module.h>
#include <linux/blkdev.h>
#include <linux/ftrace.h>
