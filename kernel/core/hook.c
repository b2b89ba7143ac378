// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's functions that are hooked, by ftrace:
 *
 *	submit_bio_noacct	the entry that every bio passes once per device level,
 *				before a partition's bio is remapped. Where all filters
 *				are atomic they run inside the callback and the kernel's
 *				function simply goes on; hooked while a filter is
 *				attached. A bio that meets a filter which may sleep is
 *				redirected to walk_redirected(); that second hook is
 *				there while such a filter is attached
 *	blkdev_ioctl,		our three commands are redirected to ioctl_serve(), and
 *	compat_blkdev_ioctl	those of loop that move a device, which go on from there;
 *				all others go on untouched
 *	del_gendisk,		redirected to lifecycle.c, which calls them itself in
 *	blk_mark_disk_dead,	the midst of what it has to do
 *	bdev_disk_changed
 *	bdev_read_page,		on kernels that have them: refused for disks that have a
 *	bdev_write_page		filter, for they tell a driver of a page without a bio.
 *				Their callers come with a bio then
 *	bio_start_io_acct	seen: bios that a bio-based driver has held back until now;
 *				hooked while a filter is attached
 *	__blk_throtl_bio	seen: bios that blk-throttle may hold back
 *	__submit_bio		seen: bios on their last step to their queue, wherever they
 *				were held back; hooked when one was seen that may be,
 *				while a filter is attached
 *	blk_execute_rq,		seen: requests that are no bios
 *	blk_execute_rq_nowait
 *	set_capacity,		seen: devices that grow and shrink
 *	set_capacity_and_notify,
 *	bdev_resize_partition
 *
 * Those of which nothing else is said are hooked as long as the module is loaded.
 * PERMANENT keeps the sysctl kernel.ftrace_enabled from switching them off. A hooked
 * function is never called past its entry, which kernels with IBT forbid: where the
 * module calls one that it has hooked, the hook knows the call by the address that it
 * returns to, and lets it pass.
 *
 * Two hooks on submit_bio_noacct
 *
 *	A bio must meet its filters in one of them, whatever is attached, detached or
 *	hooked at that moment. ftrace calls the one that was registered last first,
 *	which is the redirect: it is registered after the other, and unregistered
 *	before it. If it has redirected the call, the other one sees that in the
 *	registers, which both are given, and does nothing.
 *
 * Unloading
 *
 *	Unregistering waits until nobody is in a callback. A task that was redirected
 *	may sleep in the module for as long as it likes, so the callback counts it in,
 *	and the function it was sent to counts it out; hook_stop() waits for the last.
 *	Between that and its return instruction such a task may be preempted, but
 *	does not sleep: synchronize_rcu_tasks() covers just that.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "hook.h"
#include "walk.h"

#define HOOK_FUNCTIONS	5

/**
 * struct hook - functions that share a callback; few, as taking one back takes long
 * @ops: ftrace's
 * @functions: their names
 */
struct hook {
	struct ftrace_ops ops;
	const char *functions[HOOK_FUNCTIONS];
};

/* ftrace tells where in a function it was called, which is in its first bytes. */
static __always_inline bool entered(unsigned long ip, void *function)
{
	return ip - (unsigned long)function < 16;
}

/* ---- Redirecting ------------------------------------------------------- */

static DEFINE_PER_CPU(long, redirected);

static void notrace redirect(struct ftrace_regs *fregs, void *to)
{
	this_cpu_inc(redirected);
	compat_ftrace_set_ip(fregs, (unsigned long)to);
}

static void notrace redirect_end(void)
{
	this_cpu_dec(redirected);
}

/* Tasks may be counted in and out on different CPUs: only the sum says anything. */
static void redirect_wait_all(void)
{
	long tasks;
	int cpu;

	for (;;) {
		tasks = 0;
		for_each_possible_cpu(cpu)
			tasks += READ_ONCE(per_cpu(redirected, cpu));
		if (!tasks)
			return;
		msleep(20);
	}
}

#define REDIRECT_OPS(callback) {						\
		.func = callback,						\
		.flags = FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_IPMODIFY |	\
			 COMPAT_FTRACE_ARGS,					\
	}

#define SEE_OPS(callback) {							\
		.func = callback,						\
		.flags = FTRACE_OPS_FL_PERMANENT | COMPAT_FTRACE_ARGS,		\
	}

/* ---- What was held back --------------------------------------------------- */

static void notrace again_callback(unsigned long ip, unsigned long parent_ip,
				   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);

	if (walk_has_nobody(bio))
		return;
	preempt_disable_notrace();
	walk_again(bio);
	preempt_enable_notrace();
}

/*
 * A drain waits for what a bio-based driver has entered into the I/O statistics. What it
 * enters later than in its submit_bio, it had put aside: md does until 6.11, with a write
 * whose flush has to be first.
 */
static struct hook accounting_hook = {
	.ops = SEE_OPS(again_callback),
	.functions = { "bio_start_io_acct" },
};

/*
 * Bios may stop between submit_bio_noacct() and their queue: where blk-throttle holds
 * them back, and on the list of a task that submits them from inside of a driver's
 * submit_bio, until that returns; it may sleep before. All come by __submit_bio() then.
 * So do all others, a second time: few machines need it, so it is hooked from the moment
 * on when the first such bio was seen, and only while a filter is attached.
 */
static struct hook entry_hook = {
	.ops = SEE_OPS(again_callback),
	.functions = { "__submit_bio" },
};

/*
 * Held to place it, which a worker does or a drain, whichever is first, and to take it away.
 * That a drain has the worker do it and waits in flush_work() would not be enough: that
 * returns at once while another task is in the midst of queueing the same work.
 */
static DEFINE_MUTEX(entry_lock);

/* As long as it is not: -EINPROGRESS, or why it cannot be. */
static int entry_hooked = -EINPROGRESS;

/* Attached filters, and those among them that may sleep. More take hook_lock. */
static atomic_t bio_users, bio_redirect_users;

/* 0, also when nobody is attached: whoever will be asks again. */
static int entry_hook_place(void)
{
	int ret = 0;

	mutex_lock(&entry_lock);
	if (atomic_read(&bio_users)) {
		if (entry_hooked == -EINPROGRESS) {
			entry_hooked = register_ftrace_function(&entry_hook.ops);
			/* What is on its way past the place of the hook is in its queue then. */
			synchronize_rcu_tasks();
		}
		ret = entry_hooked;
	}
	mutex_unlock(&entry_lock);
	return ret;
}

static void entry_work_run(struct work_struct *work)
{
	entry_hook_place();
}
static DECLARE_WORK(entry_work, entry_work_run);

/* Once it is true it stays so. */
static bool held_back_seen;

/* A bio may be held back. */
static void notrace held_back(void)
{
	if (unlikely(!READ_ONCE(held_back_seen)) && !xchg(&held_back_seen, true))
		schedule_work(&entry_work);
}

static void notrace throttling_callback(unsigned long ip, unsigned long parent_ip,
					struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	held_back();
}

/* Called for bios to disks that have limits, before one may be held back. */
static struct hook throttling_hook = {
	.ops = SEE_OPS(throttling_callback),
	.functions = { "__blk_throtl_bio" },
};

/*
 * hook_sync() - bios that were held back are seen from now on when they go on
 *
 * By those who are attached: a device that goes may take the caller's filter away meanwhile.
 * Return: 0, or why not
 */
int hook_sync(void)
{
	return READ_ONCE(held_back_seen) ? entry_hook_place() : 0;
}

/* ---- I/O --------------------------------------------------------------- */

/* Once a filter that may sleep was attached there are two hooks to tell apart. */
static DEFINE_STATIC_KEY_FALSE(bios_redirected);

static void notrace submit_bio_entry(struct bio *bio)
{
	walk_redirected(bio);
	redirect_end();
}

static void notrace submit_bio_callback(unsigned long ip, unsigned long parent_ip,
					struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);
	bool again = bio_flagged(bio, BIO_REMAPPED);

	if (walk_has_nobody(bio))
		return;
	if (unlikely(current->bio_list))
		held_back();
	if (COMPAT_SPLITS_BYPASS && !entered(ip, submit_bio_noacct)) {
		/* All bios come here, but only the rest of a split is in no other place. */
		again = compat_ftrace_arg(fregs, 1) & 0xff;
		if (!again)
			return;
	} else if (!again && static_branch_unlikely(&bios_redirected) &&
		   (within_module(parent_ip, THIS_MODULE) ||
		    compat_ftrace_ip(fregs) == (unsigned long)submit_bio_entry)) {
		return;
	}
	preempt_disable_notrace();
	if (again)
		walk_again(bio);
	else
		walk_atomic(bio);
	preempt_enable_notrace();
}

static void notrace submit_bio_redirect(unsigned long ip, unsigned long parent_ip,
					struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);

	if (walk_has_nobody(bio) || bio_flagged(bio, BIO_REMAPPED) ||
	    within_module(parent_ip, THIS_MODULE))
		return;
	preempt_disable_notrace();
	if (walk_may_sleep(bio))
		redirect(fregs, submit_bio_entry);
	preempt_enable_notrace();
}

static struct hook bio_hook = {
	.ops = SEE_OPS(submit_bio_callback),
	.functions = {
		"submit_bio_noacct",
		COMPAT_SPLITS_BYPASS ? "submit_bio_noacct_nocheck" : NULL,
	},
};

static struct hook bio_redirect_hook = {
	.ops = REDIRECT_OPS(submit_bio_redirect),
	.functions = { "submit_bio_noacct" },
};

/* ---- Redirected as long as the module is loaded ------------------------- */

static long notrace ioctl_entry(struct file *file, unsigned int cmd,
				unsigned long arg)
{
	long ret = ioctl_serve(file, cmd, arg);

	redirect_end();
	return ret;
}

static int notrace rescan_entry(struct gendisk *disk, bool invalidate)
{
	int ret = lifecycle_rescan(disk, invalidate);

	redirect_end();
	return ret;
}

static void notrace remove_entry(struct gendisk *disk)
{
	lifecycle_remove(disk);
	redirect_end();
}

static void notrace mark_dead_entry(struct gendisk *disk)
{
	lifecycle_mark_dead(disk);
	redirect_end();
}

static void notrace redirect_callback(unsigned long ip, unsigned long parent_ip,
				      struct ftrace_ops *ops,
				      struct ftrace_regs *fregs)
{
	if (within_module(parent_ip, THIS_MODULE))
		return;
	if (entered(ip, bdev_disk_changed))
		redirect(fregs, rescan_entry);
	else if (entered(ip, del_gendisk))
		redirect(fregs, remove_entry);
	else if (entered(ip, blk_mark_disk_dead))
		redirect(fregs, mark_dead_entry);
	else if (ioctl_concerns_us(compat_ftrace_arg(fregs, 1)))
		redirect(fregs, ioctl_entry);
}

static struct hook redirect_hook = {
	.ops = REDIRECT_OPS(redirect_callback),
	.functions = {
		"bdev_disk_changed", "del_gendisk", "blk_mark_disk_dead",
		/* No address is known of these two, so they are the others. */
		"blkdev_ioctl",
#ifdef CONFIG_COMPAT
		"compat_blkdev_ioctl",
#endif
	},
};

#ifdef HAVE_rw_page
/* Whatever a device cannot do so is done with a bio. */
static int notrace rw_page_entry(void)
{
	redirect_end();
	return -EOPNOTSUPP;
}

static void notrace rw_page_callback(unsigned long ip, unsigned long parent_ip,
				     struct ftrace_ops *ops,
				     struct ftrace_regs *fregs)
{
	struct block_device *bdev = (struct block_device *)compat_ftrace_arg(fregs, 0);

	if (!hlist_empty(stack_bucket(bdev->bd_disk)))
		redirect(fregs, rw_page_entry);
}

/* Apart from the others, for these are not exported: no address is known of them. */
static struct hook rw_page_hook = {
	.ops = REDIRECT_OPS(rw_page_callback),
	.functions = { "bdev_read_page", "bdev_write_page" },
};
#endif

/* ---- Seen as long as the module is loaded ------------------------------- */

/* SCSI and NVMe passthrough; what only reads is of no interest. */
static void notrace see_request(struct request *rq)
{
	struct gendisk *disk;

	if (req_op(rq) != REQ_OP_DRV_OUT)
		return;
	/* Only looked up, so it may be on its way out. */
	disk = READ_ONCE(rq->q->disk);
	if (disk)
		walk_unseen(disk, BLKFILTER_UNSEEN_REQUEST);
}

static void notrace see_callback(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long first = compat_ftrace_arg(fregs, 0);

	preempt_disable_notrace();
	if (entered(ip, blk_execute_rq) || entered(ip, blk_execute_rq_nowait))
		see_request((struct request *)first);
	else if (entered(ip, set_capacity) || entered(ip, set_capacity_and_notify))
		walk_resized((struct gendisk *)first, 0, compat_ftrace_arg(fregs, 1));
	else
		walk_resized((struct gendisk *)first, compat_ftrace_arg(fregs, 1),
			     compat_ftrace_arg(fregs, 3));
	preempt_enable_notrace();
}

static struct hook see_hook = {
	.ops = SEE_OPS(see_callback),
	.functions = {
		"blk_execute_rq", "blk_execute_rq_nowait",
		/* Compiled together, so either may have the other inside. */
		"set_capacity", "set_capacity_and_notify",
		/* Of this one no address is known. */
		"bdev_resize_partition",
	},
};

/* ---- Placing and removing ---------------------------------------------- */

/* Hooked as long as the module is loaded. */
static struct hook *const lasting_hooks[] = {
#ifdef CONFIG_BLK_DEV_THROTTLING
	&throttling_hook,
#endif
#ifdef HAVE_rw_page
	&rw_page_hook,
#endif
	&see_hook, &redirect_hook,
};

/*
 * Set what a hook is to hook. Done for all before anything is registered:
 * registering an ops whose filter could not be set would hook every function there
 * is.
 */
static int hook_prepare(struct hook *hook)
{
	const char *function;
	int i, ret = 0;

	for (i = 0; i < HOOK_FUNCTIONS && hook->functions[i] && !ret; i++) {
		function = hook->functions[i];
		ret = ftrace_set_filter(&hook->ops, (char *)function,
					strlen(function), !i);
		if (ret)
			pr_err("this kernel has no traceable function %s (%d)\n",
			       function, ret);
	}
	return ret;
}

static int hook_register(struct hook *hook)
{
	int i, ret = register_ftrace_function(&hook->ops);

	if (!ret)
		return 0;
	pr_err("cannot hook (%d):", ret);
	for (i = 0; i < HOOK_FUNCTIONS && hook->functions[i]; i++)
		pr_cont(" %s", hook->functions[i]);
	pr_cont("\n");
	if (ret == -EBUSY)
		pr_err("either somebody else redirects one of them already (a live patch, another product's module), or ftrace is switched off (sysctl kernel.ftrace_enabled=0)\n");
	return ret;
}

static bool hook_unregister(struct hook *hook)
{
	return !WARN_ON_ONCE(unregister_ftrace_function(&hook->ops));
}

/* With no filter attached; the next one asks for it again, if one was seen. */
static void entry_unhook(void)
{
	mutex_lock(&entry_lock);
	if (entry_hooked || hook_unregister(&entry_hook))
		entry_hooked = -EINPROGRESS;
	mutex_unlock(&entry_lock);
}

static void hook_forget_all(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(lasting_hooks); i++)
		ftrace_free_filter(&lasting_hooks[i]->ops);
	ftrace_free_filter(&bio_hook.ops);
	ftrace_free_filter(&accounting_hook.ops);
	ftrace_free_filter(&bio_redirect_hook.ops);
	ftrace_free_filter(&entry_hook.ops);
}

static void hook_unregister_lasting(int count)
{
	while (count--)
		hook_unregister(lasting_hooks[count]);
	redirect_wait_all();
	synchronize_rcu_tasks();
	/* Nobody asks for it any more; with no filter attached, it places nothing. */
	cancel_work_sync(&entry_work);
}

/* hook_start() - hook all but I/O, and make ready to hook that */
int hook_start(void)
{
	int i, ret;

	ret = hook_prepare(&bio_hook) ?: hook_prepare(&accounting_hook) ?:
	      hook_prepare(&bio_redirect_hook) ?: hook_prepare(&entry_hook);
	for (i = 0; i < ARRAY_SIZE(lasting_hooks) && !ret; i++)
		ret = hook_prepare(lasting_hooks[i]);
	if (ret)
		goto forget;

	for (i = 0; i < ARRAY_SIZE(lasting_hooks); i++) {
		ret = hook_register(lasting_hooks[i]);
		if (ret) {
			hook_unregister_lasting(i);
			goto forget;
		}
	}
	return 0;

forget:
	hook_forget_all();
	return ret;
}

/* Hooks on bios come and go under this. */
static DEFINE_MUTEX(hook_lock);
static bool bio_hooked, accounting_hooked, bio_redirect_hooked;

/*
 * Removing a hook waits for every task to have been scheduled. That is done later,
 * by a worker: filters are detached under the locks of devices that go away, so
 * hook_put() must not wait for the lock either; and an attach that follows within
 * this time finds the hook in place, instead of waiting for it to go.
 */
#define HOOK_LINGERS	HZ

static void hook_unused(struct work_struct *work)
{
	mutex_lock(&hook_lock);
	if (!atomic_read(&bio_redirect_users) && bio_redirect_hooked)
		bio_redirect_hooked = !hook_unregister(&bio_redirect_hook);
	if (!atomic_read(&bio_users) && bio_hooked && !bio_redirect_hooked)
		bio_hooked = !hook_unregister(&bio_hook);
	if (!atomic_read(&bio_users) && accounting_hooked)
		accounting_hooked = !hook_unregister(&accounting_hook);
	if (!atomic_read(&bio_users))
		entry_unhook();
	mutex_unlock(&hook_lock);
}
static DECLARE_DELAYED_WORK(hook_unused_work, hook_unused);

/* hook_get() - hook I/O, for one more filter; @redirect if it may sleep */
int hook_get(bool redirect)
{
	int ret = 0;

	mutex_lock(&hook_lock);
	if (!bio_hooked) {
		ret = hook_register(&bio_hook);
		bio_hooked = !ret;
	}
	if (!ret && !accounting_hooked) {
		ret = hook_register(&accounting_hook);
		accounting_hooked = !ret;
	}
	if (!ret && redirect && !bio_redirect_hooked) {
		static_branch_enable(&bios_redirected);
		ret = hook_register(&bio_redirect_hook);
		bio_redirect_hooked = !ret;
	}
	if (!ret) {
		atomic_inc(&bio_users);
		atomic_add(redirect, &bio_redirect_users);
	} else if (!atomic_read(&bio_users)) {
		schedule_delayed_work(&hook_unused_work, HOOK_LINGERS);
	}
	mutex_unlock(&hook_lock);
	return ret;
}

void hook_put(bool redirect)
{
	bool unused = redirect && atomic_dec_and_test(&bio_redirect_users);

	if (atomic_dec_and_test(&bio_users) || unused)
		schedule_delayed_work(&hook_unused_work, HOOK_LINGERS);
}

/*
 * hook_stop() - at exit: after this, no task is in the module's code
 *
 * No filter is attached, because each holds its module, which holds this one.
 */
void hook_stop(void)
{
	flush_delayed_work(&hook_unused_work);
	hook_unregister_lasting(ARRAY_SIZE(lasting_hooks));
	hook_forget_all();
}
