// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's functions that are hooked, by ftrace:
 *
 *	submit_bio_noacct	the entry that every bio passes once per device level,
 *				before a partition's bio is remapped. Where all filters
 *				are atomic they run inside the callback and the kernel's
 *				function simply goes on; hooked while a filter looks
 *				there. A bio that meets a filter which may sleep is
 *				redirected to walk_redirected(); that second hook is
 *				there while such a filter is attached
 *	__submit_bio		the last step of each bio before its queue, wherever it
 *				was held back since; hooked while a filter looks there.
 *				A bio that one denies is redirected to denied_entry();
 *				that second hook is there while one may
 *	bio_start_io_acct	likewise seen: bios that a bio-based driver has held back
 *				until now
 *	blk_insert_cloned_request
 *				redirected for disks that have a filter: by it multipath
 *				puts requests on its paths, without a bio; hooked while
 *				a filter is attached
 *	blkdev_ioctl,		our three commands are redirected to ioctl_serve(), all
 *	compat_blkdev_ioctl	others go on untouched; commands to a stacked device are seen
 *	del_gendisk,		redirected to lifecycle.c, which calls them itself in
 *	blk_mark_disk_dead,	the midst of what it has to do
 *	bdev_disk_changed
 *	bdev_read_page,		on kernels that have them: refused for disks that have a
 *	bdev_write_page		filter, for they tell a driver of a page without a bio.
 *				Their callers come with a bio then
 *	blk_execute_rq,		seen: requests that are no bios
 *	blk_execute_rq_nowait
 *	set_capacity,		seen: devices that grow and shrink
 *	set_capacity_and_notify,
 *	bdev_resize_partition
 *	queue_iostats_store	seen, on kernels where md has only its statistics to tell
 *				what is in flight: that they are switched
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
 *	The two on __submit_bio need no such care: what one of them is shown twice, or
 *	has still to be shown, does no harm there (walk.c).
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
#include "drain.h"
#include "hook.h"
#include "passthrough.h"
#include "symbols.h"
#include "tasks.h"
#include "walk.h"

#define HOOK_FUNCTIONS	5

/**
 * struct function - one to hook: by its address, since others may have its name
 * @name: its name
 * @address: where it is, if the kernel exports it
 * @near: or of an exported one of its source file, near which it is found (symbols.c)
 */
struct function {
	const char *name;
	unsigned long address;
	unsigned long near;
};

#define EXPORTED(function)							\
	{ .name = #function, .address = (unsigned long)(function) }
#define LOCAL(function, exported)						\
	{ .name = #function, .near = (unsigned long)(exported) }

/**
 * struct hook - functions that share a callback; few, as taking one back takes long
 * @ops: ftrace's
 * @functions: the functions; those behind the last one have no name
 */
struct hook {
	struct ftrace_ops ops;
	struct function functions[HOOK_FUNCTIONS];
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

	if (walk_has_nobody(bio) || bio_flagged(bio, BIO_REMAPPED))
		return;
	drain_readahead(bio);
	if (static_branch_unlikely(&bios_redirected) &&
	    (within_module(parent_ip, THIS_MODULE) ||
	     compat_ftrace_ip(fregs) == (unsigned long)submit_bio_entry))
		return;
	preempt_disable_notrace();
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

static void notrace last_step_callback(unsigned long ip, unsigned long parent_ip,
				       struct ftrace_ops *ops,
				       struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);

	if (walk_has_nobody(bio))
		return;
	drain_readahead(bio);
	preempt_disable_notrace();
	walk_last(bio);
	preempt_enable_notrace();
}

/* In place of __submit_bio(). The bio's status was set already. */
static void notrace denied_entry(struct bio *bio)
{
	bio_endio(bio);
	redirect_end();
}

static void notrace deny_callback(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct bio *bio = (struct bio *)compat_ftrace_arg(fregs, 0);
	blk_status_t status;

	if (walk_has_nobody(bio))
		return;
	preempt_disable_notrace();
	status = walk_denied(bio);
	if (unlikely(status != BLK_STS_OK)) {
		bio->bi_status = status;
		redirect(fregs, denied_entry);
	}
	preempt_enable_notrace();
}

/*
 * In place of blk_insert_cloned_request(). Preempted in between it changes nothing: whoever
 * waits for the request waits for its disk's queue, which it has entered already.
 */
static blk_status_t notrace request_entry(struct request *rq)
{
	blk_status_t status;

	preempt_disable_notrace();
	status = walk_request(rq);
	preempt_enable_notrace();
	if (status == BLK_STS_OK)
		status = blk_insert_cloned_request(rq);
	redirect_end();
	return status;
}

static void notrace request_callback(unsigned long ip, unsigned long parent_ip,
				     struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct request *rq = (struct request *)compat_ftrace_arg(fregs, 0);
	struct gendisk *disk = READ_ONCE(rq->q->disk);

	if (disk && !hlist_empty(stack_bucket(disk)) && !within_module(parent_ip, THIS_MODULE))
		redirect(fregs, request_entry);
}

/**
 * struct bio_hook - a hook on I/O
 * @hook: what is hooked
 * @users: attached filters that need it; more take hook_lock
 * @hooked: under hook_lock
 */
struct bio_hook {
	struct hook hook;
	atomic_t users;
	bool hooked;
};

/*
 * By the bits of hook_get(), in the order in which they are registered; in the reverse
 * order they are taken back.
 */
static struct bio_hook bio_hooks[] = {
	/* HOOK_ENTRY */
	{ .hook = { SEE_OPS(submit_bio_callback), { EXPORTED(submit_bio_noacct) } } },
	/* HOOK_REDIRECT */
	{ .hook = { REDIRECT_OPS(submit_bio_redirect), { EXPORTED(submit_bio_noacct) } } },
	/*
	 * HOOK_LAST. A drain waits for what a bio-based driver has entered into the I/O
	 * statistics. What it enters later than in its submit_bio it had put aside: md does
	 * until 6.11, with a write whose flush has to be first.
	 */
	{ .hook = { SEE_OPS(last_step_callback), {
		LOCAL(__submit_bio, submit_bio_noacct), EXPORTED(bio_start_io_acct),
	} } },
	/* HOOK_DENY */
	{ .hook = { REDIRECT_OPS(deny_callback), {
		LOCAL(__submit_bio, submit_bio_noacct),
	} } },
	/* HOOK_REQUEST */
	{ .hook = { REDIRECT_OPS(request_callback), { EXPORTED(blk_insert_cloned_request) } } },
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
	else if (ioctl_is_ours(compat_ftrace_arg(fregs, 1)))
		redirect(fregs, ioctl_entry);
	else
		passthrough_ioctl((struct file *)compat_ftrace_arg(fregs, 0),
				  compat_ftrace_arg(fregs, 1), compat_ftrace_arg(fregs, 2));
}

static struct hook redirect_hook = {
	.ops = REDIRECT_OPS(redirect_callback),
	.functions = {
		EXPORTED(bdev_disk_changed), EXPORTED(del_gendisk), EXPORTED(blk_mark_disk_dead),
		/* The others. Their source file stands next to that of this exported one. */
		LOCAL(blkdev_ioctl, del_gendisk),
#ifdef CONFIG_COMPAT
		LOCAL(compat_blkdev_ioctl, del_gendisk),
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

/* Apart from the others, whose callback takes what it does not know for an ioctl. */
static struct hook rw_page_hook = {
	.ops = REDIRECT_OPS(rw_page_callback),
	.functions = {
		LOCAL(bdev_read_page, thaw_bdev), LOCAL(bdev_write_page, thaw_bdev),
	},
};
#endif

/* ---- Seen as long as the module is loaded ------------------------------- */

static void notrace see_callback(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long first = compat_ftrace_arg(fregs, 0);

	preempt_disable_notrace();
	if (entered(ip, blk_execute_rq) || entered(ip, blk_execute_rq_nowait))
		passthrough_request((struct request *)first);
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
		EXPORTED(blk_execute_rq), EXPORTED(blk_execute_rq_nowait),
		/* Compiled together, so either may have the other inside. */
		EXPORTED(set_capacity), EXPORTED(set_capacity_and_notify),
		/* The other one. */
		LOCAL(bdev_resize_partition, bdev_disk_changed),
	},
};

#if !COMPAT_MD_COUNTS
static void notrace switched_callback(unsigned long ip, unsigned long parent_ip,
				      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct request_queue *q = (struct request_queue *)compat_ftrace_arg(fregs, 0);

	drain_switched(q->disk);
}

static struct hook switched_hook = {
	.ops = SEE_OPS(switched_callback),
	.functions = { LOCAL(queue_iostats_store, submit_bio_noacct) },
};
#endif

/* ---- Placing and removing ---------------------------------------------- */

/* Hooked as long as the module is loaded. */
static struct hook *const lasting_hooks[] = {
#ifdef HAVE_rw_page
	&rw_page_hook,
#endif
#if !COMPAT_MD_COUNTS
	&switched_hook,
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
	const struct function *function;
	unsigned long address;
	int i, ret = 0;

	for (i = 0; i < HOOK_FUNCTIONS && hook->functions[i].name && !ret; i++) {
		function = &hook->functions[i];
		address = function->address ?: symbol_find(function->name, function->near);
		if (!address)
			return -EOPNOTSUPP;
		ret = ftrace_set_filter_ip(&hook->ops, address, 0, !i);
		if (ret)
			pr_err("this kernel's function %s cannot be traced (%d)\n",
			       function->name, ret);
	}
	return ret == -EINVAL ? -EOPNOTSUPP : ret;
}

static int hook_register(struct hook *hook)
{
	int i, ret = register_ftrace_function(&hook->ops);

	if (!ret)
		return 0;
	pr_err("cannot hook (%d):", ret);
	for (i = 0; i < HOOK_FUNCTIONS && hook->functions[i].name; i++)
		pr_cont(" %s", hook->functions[i].name);
	pr_cont("\n");
	if (ret == -EBUSY)
		pr_err("either somebody else redirects one of them already (a live patch, another product's module), or ftrace is switched off (sysctl kernel.ftrace_enabled=0)\n");
	return ret;
}

static bool hook_unregister(struct hook *hook)
{
	return !WARN_ON_ONCE(unregister_ftrace_function(&hook->ops));
}

static void hook_forget_all(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(lasting_hooks); i++)
		ftrace_free_filter(&lasting_hooks[i]->ops);
	for (i = 0; i < ARRAY_SIZE(bio_hooks); i++)
		ftrace_free_filter(&bio_hooks[i].hook.ops);
}

static void hook_unregister_lasting(int count)
{
	while (count--)
		hook_unregister(lasting_hooks[count]);
	redirect_wait_all();
	synchronize_rcu_tasks();
}

/* hook_start() - hook all but I/O, and make ready to hook that */
int hook_start(void)
{
	int i, ret = 0;

	for (i = 0; i < ARRAY_SIZE(bio_hooks) && !ret; i++)
		ret = hook_prepare(&bio_hooks[i].hook);
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

/*
 * Removing a hook waits for every task to have been scheduled. That is done later,
 * by a worker: filters are detached under the locks of devices that go away, so
 * hook_put() must not wait for the lock either; and an attach that follows within
 * this time finds the hook in place, instead of waiting for it to go.
 */
#define HOOK_LINGERS	HZ

static void hook_unused(struct work_struct *work);
static DECLARE_DELAYED_WORK(hook_unused_work, hook_unused);

/*
 * For that, ftrace waits as long as the slowest task takes, under a lock that placing hooks
 * takes as well, and much else. So we wait first, under none.
 */
#define HOOK_WAITS	(600 * HZ)
#define HOOK_SAYS	(30 * HZ)

static void hook_unused(struct work_struct *work)
{
	struct bio_hook *h;

	if (tasks_wait(HOOK_WAITS)) {
		schedule_delayed_work(&hook_unused_work, HOOK_LINGERS);
		return;
	}
	mutex_lock(&hook_lock);
	for (h = bio_hooks + ARRAY_SIZE(bio_hooks); h-- > bio_hooks; ) {
		if (h->hooked && !atomic_read(&h->users))
			h->hooked = !hook_unregister(&h->hook);
	}
	mutex_unlock(&hook_lock);
}

/*
 * hook_get() - hook I/O, for one more filter
 * @hooks: HOOK_ENTRY and so on. HOOK_REDIRECT needs HOOK_ENTRY
 */
int hook_get(unsigned int hooks)
{
	int i, ret = 0;

	mutex_lock(&hook_lock);
	for (i = 0; i < ARRAY_SIZE(bio_hooks) && !ret; i++) {
		if (!(hooks & BIT(i)) || bio_hooks[i].hooked)
			continue;
		if (BIT(i) == HOOK_REDIRECT)
			static_branch_enable(&bios_redirected);
		ret = hook_register(&bio_hooks[i].hook);
		bio_hooks[i].hooked = !ret;
	}
	for (i = 0; i < ARRAY_SIZE(bio_hooks) && !ret; i++)
		atomic_add(!!(hooks & BIT(i)), &bio_hooks[i].users);
	mutex_unlock(&hook_lock);
	if (ret)
		schedule_delayed_work(&hook_unused_work, HOOK_LINGERS);
	return ret;
}

void hook_put(unsigned int hooks)
{
	bool unused = false;
	int i;

	for (i = 0; i < ARRAY_SIZE(bio_hooks); i++) {
		if (hooks & BIT(i))
			unused |= atomic_dec_and_test(&bio_hooks[i].users);
	}
	if (unused)
		schedule_delayed_work(&hook_unused_work, HOOK_LINGERS);
}

/*
 * hook_stop() - at exit: after this, no task is in the module's code
 *
 * No filter is attached, because each holds its module, which holds this one. Waits for as
 * long as the slowest task takes; the log says for which.
 */
void hook_stop(void)
{
	while (tasks_wait(HOOK_SAYS) == -ETIMEDOUT)
		tasks_name();
	do {
		flush_delayed_work(&hook_unused_work);
	} while (delayed_work_pending(&hook_unused_work));
	hook_unregister_lasting(ARRAY_SIZE(lasting_hooks));
	hook_forget_all();
}
