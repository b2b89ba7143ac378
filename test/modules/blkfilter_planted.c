// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bugs, planted one at a time, to see that a run of the tests would not miss
 * theirs:
 *
 *	insmod blkfilter_planted.ko bug=use-after-free
 *
 * Each leaves the machine usable if the kernel does not look for its kind.
 */
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *bug = "none";
module_param(bug, charp, 0444);

static void plant_use_after_free(void)
{
	int *freed = kmalloc(64, GFP_KERNEL | __GFP_NOFAIL);

	kfree(freed);
	/* What the compiler knows to be wrong it might leave out. */
	OPTIMIZER_HIDE_VAR(freed);
	(void)READ_ONCE(*freed);
}

static void plant_sleep_under_spinlock(void)
{
	DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	msleep(1);
	spin_unlock(&lock);
}

static DEFINE_MUTEX(lock_a);
static DEFINE_MUTEX(lock_b);

static void plant_lock_inversion(void)
{
	mutex_lock(&lock_a);
	mutex_lock(&lock_b);
	mutex_unlock(&lock_b);
	mutex_unlock(&lock_a);

	mutex_lock(&lock_b);
	mutex_lock(&lock_a);
	mutex_unlock(&lock_a);
	mutex_unlock(&lock_b);
}

static void plant_list_corruption(void)
{
	LIST_HEAD(list);
	LIST_HEAD(entry);
	LIST_HEAD(stranger);

	list_add(&entry, &list);
	list.next = &stranger;
	list_del(&entry);
}

static void plant_refcount(void)
{
	refcount_t count = REFCOUNT_INIT(0);

	refcount_inc(&count);
}

static void plant_rcu_usage(void)
{
	static int __rcu *pointer;

	/* Outside of any read-side section. */
	(void)rcu_dereference(pointer);
}

static void plant_leak(void)
{
	int *leaked = kmalloc(64, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(leaked);
}

static const struct {
	const char *name;
	void (*plant)(void);
} bugs[] = {
	{ "none", NULL },
	{ "use-after-free", plant_use_after_free },
	{ "sleep-under-spinlock", plant_sleep_under_spinlock },
	{ "lock-inversion", plant_lock_inversion },
	{ "list-corruption", plant_list_corruption },
	{ "refcount", plant_refcount },
	{ "rcu-usage", plant_rcu_usage },
	{ "leak", plant_leak },
};

static int __init planted_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (strcmp(bugs[i].name, bug))
			continue;
		if (bugs[i].plant)
			bugs[i].plant();
		return 0;
	}
	return -EINVAL;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("Plants bugs, for the tests of the test machine");
MODULE_LICENSE("GPL");
