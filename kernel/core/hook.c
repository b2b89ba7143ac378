// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's functions that are hooked, by ftrace:
 *
 *	submit_bio_noacct	the entry that every bio passes once per device level,
 *				before a partition's bio is remapped. Filters run inside
 *				the callback and the kernel's function simply goes on.
 *				Hooked while at least one filter is attached
 *	blkdev_ioctl,		our three commands are redirected (IPMODIFY) to
 *	compat_blkdev_ioctl	ioctl_serve(), all others go on untouched. Hooked as
 *				long as the module is loaded
 *
 * PERMANENT keeps the sysctl kernel.ftrace_enabled from switching them off. A
 * hooked function is never called past its entry, which kernels with IBT forbid.
 *
 * Unloading. Unregistering waits until nobody is in a callback. A task that was
 * redirected may sleep in ioctl_serve() for as long as it likes, so the callback
 * counts it in and ioctl_serve() counts it out; hook_remove() waits for the last.
 * Between that and its return instruction such a task may be preempted, but does
 * not sleep: synchronize_rcu_tasks() covers just that.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "hook.h"
#include "stack.h"

/* ---- I/O --------------------------------------------------------------- */

static void notrace submit_bio_callback(unsigned long ip, unsigned long parent_ip,
					struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);

	if (bio_flagged(bio, BIO_REMAPPED))
		return;
	preempt_disable_notrace();
	stack_see_bio(bio);
	preempt_enable_notrace();
}

static struct ftrace_ops submit_bio_ops = {
	.func = submit_bio_callback,
	.flags = FTRACE_OPS_FL_PERMANENT | COMPAT_FTRACE_ARGS,
};

/* ---- ioctls ------------------------------------------------------------ */

static atomic_t ioctl_tasks = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(ioctl_idle);

static long notrace ioctl_entry(struct file *file, unsigned int cmd,
				unsigned long arg)
{
	long ret = ioctl_serve(file, cmd, arg);

	if (atomic_dec_and_test(&ioctl_tasks))
		wake_up(&ioctl_idle);
	return ret;
}

static void notrace ioctl_callback(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops,
				   struct ftrace_regs *fregs)
{
	if (!ioctl_is_ours(compat_ftrace_arg(fregs, 1)))
		return;
	atomic_inc(&ioctl_tasks);
	compat_ftrace_set_ip(fregs, (unsigned long)ioctl_entry);
}

static struct ftrace_ops ioctl_ops = {
	.func = ioctl_callback,
	.flags = FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_IPMODIFY |
		 COMPAT_FTRACE_ARGS,
};

/* ---- Placing and removing ---------------------------------------------- */

static int hook_filter(struct ftrace_ops *ops, char *function, bool first)
{
	int ret = ftrace_set_filter(ops, function, strlen(function), first);

	if (ret)
		pr_err("this kernel has no traceable function %s (%d)\n",
		       function, ret);
	return ret;
}

static int hook_register(struct ftrace_ops *ops, const char *what)
{
	int ret = register_ftrace_function(ops);

	if (ret == -EBUSY)
		pr_err("cannot hook %s: either somebody else redirects it already (a live patch, another product's module), or ftrace is switched off (sysctl kernel.ftrace_enabled=0)\n",
		       what);
	else if (ret)
		pr_err("cannot hook %s (%d)\n", what, ret);
	return ret;
}

/*
 * hook_ioctls() - serve the ioctls, and make ready to hook I/O
 *
 * Filters are set and checked before anything is registered: registering an ops
 * whose filter could not be set would hook every function there is.
 */
int hook_ioctls(void)
{
	int ret;

	ret = hook_filter(&submit_bio_ops, "submit_bio_noacct", true);
	if (!ret)
		ret = hook_filter(&ioctl_ops, "blkdev_ioctl", true);
	if (!ret && IS_ENABLED(CONFIG_COMPAT))
		ret = hook_filter(&ioctl_ops, "compat_blkdev_ioctl", false);
	if (!ret)
		ret = hook_register(&ioctl_ops, "blkdev_ioctl");
	if (ret) {
		ftrace_free_filter(&ioctl_ops);
		ftrace_free_filter(&submit_bio_ops);
	}
	return ret;
}

/* Attached filters. The hook is there while there is one. */
static DEFINE_MUTEX(hook_lock);
static unsigned int hook_users;
static bool hook_registered;

/*
 * Removing the hook waits for every task to have been scheduled. That is done
 * later, by a worker: filters are detached under the locks of devices that go
 * away, and an attach that follows soon finds the hook in place.
 */
static void hook_unused(struct work_struct *work)
{
	mutex_lock(&hook_lock);
	if (!hook_users && hook_registered &&
	    !WARN_ON_ONCE(unregister_ftrace_function(&submit_bio_ops)))
		hook_registered = false;
	mutex_unlock(&hook_lock);
}
static DECLARE_WORK(hook_unused_work, hook_unused);

int hook_get(void)
{
	int ret = 0;

	mutex_lock(&hook_lock);
	if (!hook_registered) {
		ret = hook_register(&submit_bio_ops, "submit_bio_noacct");
		hook_registered = !ret;
	}
	if (!ret)
		hook_users++;
	mutex_unlock(&hook_lock);
	return ret;
}

void hook_put(void)
{
	mutex_lock(&hook_lock);
	if (!--hook_users)
		schedule_work(&hook_unused_work);
	mutex_unlock(&hook_lock);
}

/*
 * hook_remove() - at exit: after this, no task is in the module's code
 *
 * No filter is attached, because each holds its module, which holds this one.
 */
void hook_remove(void)
{
	WARN_ON_ONCE(unregister_ftrace_function(&ioctl_ops));
	wait_event(ioctl_idle, !atomic_read(&ioctl_tasks));
	flush_work(&hook_unused_work);
	synchronize_rcu_tasks();
	ftrace_free_filter(&ioctl_ops);
	ftrace_free_filter(&submit_bio_ops);
}
