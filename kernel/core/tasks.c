// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting until each task has slept or left the kernel, with a limit.
 *
 * synchronize_rcu_tasks() waits for every task of the machine. One that runs in the kernel
 * and does not sleep holds it up for as long as it likes: being preempted does not count,
 * and neither does cond_resched(). Any user may start such a task: io_uring's SQPOLL
 * thread, which polls until its idle time is over.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "tasks.h"

/* How many tasks are named when a wait takes too long. */
#define NAMED	3

/**
 * struct tasks_waiter - somebody who waits
 * @link: in @abandoned
 * @rcu: completed by RCU's own callback: newer kernels call any other one a quarter of a
 *	second later
 */
struct tasks_waiter {
	struct list_head link;
	struct rcu_synchronize rcu;
};

/* Given up on, and completed some time: then the next one who waits frees them. */
static LIST_HEAD(abandoned);
static DEFINE_SPINLOCK(abandoned_lock);

static void abandoned_free(bool all)
{
	struct tasks_waiter *waiter, *next;

	spin_lock(&abandoned_lock);
	list_for_each_entry_safe(waiter, next, &abandoned, link) {
		if (!all && !completion_done(&waiter->rcu.completion))
			continue;
		list_del(&waiter->link);
		kfree(waiter);
	}
	spin_unlock(&abandoned_lock);
}

/*
 * tasks_wait() - wait until each task has slept or left the kernel
 *
 * Return: 0; -EINTR when the task is being killed; -ENOMEM; -ETIMEDOUT after @timeout
 * jiffies
 */
int tasks_wait(unsigned long timeout)
{
	struct tasks_waiter *waiter;
	long left;

	if (!IS_ENABLED(CONFIG_TASKS_RCU)) {
		/* Then no task is preempted in the kernel, and this does not take long. */
		synchronize_rcu_tasks();
		return 0;
	}
	abandoned_free(false);
	waiter = kmalloc(sizeof(*waiter), GFP_KERNEL);
	if (!waiter)
		return -ENOMEM;
	init_completion(&waiter->rcu.completion);
	call_rcu_tasks(&waiter->rcu.head, wakeme_after_rcu);
	left = wait_for_completion_killable_timeout(&waiter->rcu.completion, timeout);
	if (left > 0) {
		kfree(waiter);
		return 0;
	}
	spin_lock(&abandoned_lock);
	list_add(&waiter->link, &abandoned);
	spin_unlock(&abandoned_lock);
	return left ? -EINTR : -ETIMEDOUT;
}

/* tasks_name() - say in the log who has not slept since RCU began to wait for it */
void tasks_name(void)
{
#ifdef CONFIG_TASKS_RCU
	struct task_struct *process, *task;
	int named = 0;

	pr_warn("cannot wait any longer for every task to sleep or to leave the kernel\n");
	rcu_read_lock();
	for_each_process_thread(process, task) {
		if (!READ_ONCE(task->rcu_tasks_holdout) || named++ >= NAMED)
			continue;
		pr_warn("%s (%d) of process %s (%d) has done neither: end it, or its io_uring polling\n",
			task->comm, task_pid_nr(task), process->comm, task_pid_nr(process));
	}
	rcu_read_unlock();
#endif
}

/* tasks_stop() - at exit: wait for those that were given up on, for as long as it takes */
void tasks_stop(void)
{
	if (IS_ENABLED(CONFIG_TASKS_RCU) && !list_empty(&abandoned))
		rcu_barrier_tasks();
	abandoned_free(true);
}
