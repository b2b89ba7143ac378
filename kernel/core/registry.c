// SPDX-License-Identifier: GPL-2.0-only
/*
 * The filters that modules offer, by name.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>

#include "registry.h"

static DEFINE_MUTEX(registry_lock);
static LIST_HEAD(registry);

static struct blkfilter_operations *registry_find(const char *name)
{
	struct blkfilter_operations *ops;

	lockdep_assert_held(&registry_lock);
	list_for_each_entry(ops, &registry, link) {
		if (!strncmp(ops->name, name, BLKFILTER_NAME_LENGTH))
			return ops;
	}
	return NULL;
}

/*
 * registry_get() - find a filter and keep its module loaded
 *
 * NULL also while that module is on its way out.
 */
struct blkfilter_operations *registry_get(const char *name)
{
	struct blkfilter_operations *ops;

	mutex_lock(&registry_lock);
	ops = registry_find(name);
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	mutex_unlock(&registry_lock);
	return ops;
}

void registry_put(const struct blkfilter_operations *ops)
{
	module_put(ops->owner);
}

/**
 * blkfilter_register() - offer a filter
 * @ops: stays the core's until blkfilter_unregister()
 *
 * Return: 0; -EBUSY when the name is taken; -EINVAL when @ops lacks a name, a
 * callback that makes or frees a filter, or the callback that sees bios;
 * -EOPNOTSUPP without BLKFILTER_ATOMIC, for now.
 */
int blkfilter_register(struct blkfilter_operations *ops)
{
	int ret = 0;

	if (!ops->name || !*ops->name || strchr(ops->name, '\n') ||
	    strlen(ops->name) > BLKFILTER_NAME_LENGTH ||
	    !ops->attach || !ops->detach)
		return -EINVAL;
	if (!(ops->flags & BLKFILTER_ATOMIC)) {
		pr_err("%s: filters that may sleep are not supported yet\n", ops->name);
		return -EOPNOTSUPP;
	}
	if (!ops->filter_bio)
		return -EINVAL;

	mutex_lock(&registry_lock);
	if (registry_find(ops->name))
		ret = -EBUSY;
	else
		list_add_tail(&ops->link, &registry);
	mutex_unlock(&registry_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(blkfilter_register);

/**
 * blkfilter_unregister() - take a filter back
 * @ops: what was registered
 *
 * For the module's exit function: it runs only when the filter is attached
 * nowhere, because each attachment holds the module.
 */
void blkfilter_unregister(struct blkfilter_operations *ops)
{
	mutex_lock(&registry_lock);
	list_del(&ops->link);
	mutex_unlock(&registry_lock);
}
EXPORT_SYMBOL_GPL(blkfilter_unregister);

/*
 * /sys/module/blkfilter/parameters/filters: "name altitude", a line each.
 */
static int registry_show(char *buf, const struct kernel_param *kp)
{
	struct blkfilter_operations *ops;
	int len = 0;

	mutex_lock(&registry_lock);
	list_for_each_entry(ops, &registry, link)
		len += scnprintf(buf + len, PAGE_SIZE - len, "%s %u\n",
				 ops->name, ops_altitude(ops));
	mutex_unlock(&registry_lock);
	return len;
}

static const struct kernel_param_ops registry_param_ops = {
	.get = registry_show,
};
module_param_cb(filters, &registry_param_ops, NULL, 0444);
MODULE_PARM_DESC(filters, "registered filters with their altitudes (read only)");
