// SPDX-License-Identifier: GPL-2.0-only
/*
 * The filters that modules offer, from the lowest altitude up.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/string.h>

#include "compat.h"
#include "registry.h"
#include "rules.h"
#include "stack.h"

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
 * It may be attached from this moment on. A module whose init function fails after
 * that is freed all the same, so nothing that can fail may follow there.
 *
 * Return: 0; -EBUSY when the name is taken; -EINVAL when @ops lacks a name, a
 * callback that makes or frees a filter, or one that sees bios, or has flags that do
 * not go together. A name has no spaces.
 */
int blkfilter_register(struct blkfilter_operations *ops)
{
	bool atomic = ops->flags & BLKFILTER_ATOMIC;
	struct blkfilter_operations *above;
	int ret = 0;

	if (!ops->name || !*ops->name || strpbrk(ops->name, " \n") ||
	    strlen(ops->name) > BLKFILTER_NAME_LENGTH ||
	    !ops->attach || !ops->detach)
		return -EINVAL;
	if (!ops->filter_bio && !ops->last_step && (atomic || !ops->submit_bio))
		return -EINVAL;
	if (!ops->last_step && (ops->flags & BLKFILTER_DENIES))
		return -EINVAL;

	mutex_lock(&registry_lock);
	if (registry_find(ops->name)) {
		ret = -EBUSY;
		goto unlock;
	}
	list_for_each_entry(above, &registry, link) {
		if (ops_altitude(above) > ops_altitude(ops))
			break;
	}
	list_add_tail(&ops->link, &above->link);
unlock:
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
 * A device that should have been blocked must not be open instead. The kernel's own flag
 * keeps most writers out: what docs/guard.md says of it.
 */
static void registry_failed(struct block_device *bdev, const struct blkfilter_operations *ops,
			    const struct rule *rule, int error)
{
	pr_err("%pg: %s could not be attached (%d)\n", bdev, ops->name, error);
	if (!rule || !rule->read_only)
		return;
	compat_bdev_set_read_only(bdev, true);
	pr_err("%pg: no filter denies writes. It was marked read-only, which does not stop them all\n",
	       bdev);
}

/*
 * registry_offer() - ask the filters, from the lowest altitude up, whether they want
 * a device that is being added
 *
 * Nothing has to be drained, since it has done no I/O. No uevent either: the device
 * has not been announced itself yet.
 */
void registry_offer(struct block_device *bdev)
{
	struct blkfilter_operations *ops;
	struct rule *rule;
	bool wanted;
	int ret;
	u64 id;

	mutex_lock(&registry_lock);
	list_for_each_entry(ops, &registry, link) {
		/* Not while it is on its way out. */
		if (!try_module_get(ops->owner))
			continue;
		wanted = ops->device_added && ops->device_added(bdev);
		rule = rules_match(bdev, ops);
		if (wanted || rule) {
			ret = stack_attach(bdev, ops, rule ? rule->options : NULL, &id);
			/* A rescan has brought it along. */
			if (ret && ret != -EALREADY)
				registry_failed(bdev, ops, rule, ret);
		}
		rule_put(rule);
		module_put(ops->owner);
	}
	mutex_unlock(&registry_lock);
}

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
