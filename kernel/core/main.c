// SPDX-License-Identifier: GPL-2.0-only
/*
 * blkfilter.ko: filters for the I/O of live block devices.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include <linux/blk-filter.h>

#include "content.h"
#include "drain.h"
#include "hook.h"
#include "lifecycle.h"
#include "selftest.h"
#include "stack.h"
#include "tasks.h"

static int __init blkfilter_init(void)
{
	int ret;

	/* Filters run with preemption disabled, where such a kernel allows little. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("kernels with PREEMPT_RT are not supported\n");
		return -EOPNOTSUPP;
	}
	ret = content_start();
	if (ret)
		return ret;
	ret = lifecycle_start();
	if (ret)
		goto stop_content;
	drain_start();
	ret = hook_start();
	if (ret)
		goto stop_lifecycle;
	ret = selftest_run();
	if (ret)
		goto stop_hook;
	return 0;

stop_hook:
	hook_stop();
stop_lifecycle:
	lifecycle_stop();
	stack_stop();
	drain_stop();
	tasks_stop();
stop_content:
	content_stop();
	return ret;
}

static void __exit blkfilter_exit(void)
{
	hook_stop();
	lifecycle_stop();
	stack_stop();
	drain_stop();
	tasks_stop();
	content_stop();
}

module_init(blkfilter_init);
module_exit(blkfilter_exit);

MODULE_DESCRIPTION("Filters for the I/O of live block devices");
MODULE_LICENSE("GPL");
MODULE_VERSION(BLKFILTER_VERSION);
