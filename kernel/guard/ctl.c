// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands of guard; their structs are documented in the UAPI header.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "guard.h"

/* The rules, for whoever holds @rules_lock. */
static struct guard_rules *guard_rules(struct guard *guard)
{
	return rcu_dereference_protected(guard->rules,
					 lockdep_is_held(&guard->rules_lock));
}

/* ---- SET_RULES ------------------------------------------------------------ */

static struct guard_rules *rules_from_user(const struct blkfilter_guard_rules *arg)
{
	struct guard_rules *rules;
	int ret = 0;

	if (arg->counters || arg->held || arg->count > BLKFILTER_GUARD_RULES_MAX)
		return ERR_PTR(-EINVAL);
	rules = rules_create(arg->count);
	if (!rules)
		return ERR_PTR(-ENOMEM);

	if (copy_from_user(rules->rules, u64_to_user_ptr(arg->rules),
			   array_size(arg->count, sizeof(*rules->rules))))
		ret = -EFAULT;
	rules->rules[arg->count].action = arg->action;
	rules->rules[arg->count].argument = arg->argument;
	if (!ret && !rules_valid(rules))
		ret = -EINVAL;
	if (ret) {
		rules_free(rules);
		return ERR_PTR(ret);
	}
	return rules;
}

/*
 * guard_replace_rules() - put @new in force, and let go what the old ones delay
 *
 * The device is marked read-only together with that, or no longer.
 */
void guard_replace_rules(struct guard *guard, struct guard_rules *new)
{
	struct guard_rules *old;

	mutex_lock(&guard->rules_lock);
	old = guard_rules(guard);
	new->serial = old->serial + 1;
	hold_replace_rules(guard, new);
	blkfilter_set_read_only(&guard->flt, rules_read_only(new));
	mutex_unlock(&guard->rules_lock);

	synchronize_rcu();
	rules_free(old);
}

/*
 * Replace the rules.
 *
 * What the old ones have let pass must be over when this returns: whoever blocks
 * writes to a disk and then looks at it must not see it change. Those bios are
 *
 * - held: let go when the rules are replaced. hold_bio() holds none by the old ones
 *   after that;
 * - held back by others, or what is left of a split: the new rules are asked at their
 *   last step;
 * - on their way to the device behind that: blkfilter_drain() waits for them.
 */
static int guard_set_rules(struct guard *guard, struct blkfilter_guard_rules *arg)
{
	struct guard_rules *new = rules_from_user(arg);

	if (IS_ERR(new))
		return PTR_ERR(new);
	guard_replace_rules(guard, new);
	return blkfilter_drain(READ_ONCE(guard->bdev));
}

/* ---- GET_RULES ------------------------------------------------------------ */

static u64 counter_sum(const struct guard_rules *rules, u32 rule)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(&rules->counters[rule], cpu);
	return sum;
}

/*
 * The rules are copied under the lock and given to user space after it: a page fault
 * may take as long as user space likes.
 */
static int guard_get_rules(struct guard *guard, struct blkfilter_guard_rules *arg)
{
	const u32 room = min_t(u32, arg->count, BLKFILTER_GUARD_RULES_MAX);
	struct blkfilter_guard_rule *copy = kvcalloc(room, sizeof(*copy), GFP_KERNEL);
	u64 *counters = kvcalloc(room + 1, sizeof(*counters), GFP_KERNEL);
	const struct blkfilter_guard_rule *rest;
	struct guard_rules *rules;
	int ret = -ENOMEM;
	u32 i;

	if (!copy || !counters)
		goto out;

	mutex_lock(&guard->rules_lock);
	rules = guard_rules(guard);
	if (rules->count <= room) {
		memcpy(copy, rules->rules, array_size(rules->count, sizeof(*copy)));
		for (i = 0; i <= rules->count; i++)
			counters[i] = counter_sum(rules, i);
	}
	rest = &rules->rules[rules->count];
	arg->count = rules->count;
	arg->action = rest->action;
	arg->argument = rest->argument;
	arg->held = hold_count(guard);
	mutex_unlock(&guard->rules_lock);

	ret = -EMSGSIZE;
	if (arg->count > room)
		goto out;
	ret = 0;
	if (copy_to_user(u64_to_user_ptr(arg->rules), copy,
			 array_size(arg->count, sizeof(*copy))) ||
	    copy_to_user(u64_to_user_ptr(arg->counters), counters,
			 array_size(arg->count + 1, sizeof(*counters))))
		ret = -EFAULT;
out:
	kvfree(counters);
	kvfree(copy);
	return ret;
}

/* ---- Dispatch ------------------------------------------------------------- */

/* The struct is read, worked on in place, and written back. */
int guard_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	      __u32 *plen)
{
	struct guard *guard = container_of(flt, struct guard, flt);
	struct blkfilter_guard_rules arg;
	int ret;

	if (cmd != BLKFILTER_GUARD_SET_RULES && cmd != BLKFILTER_GUARD_GET_RULES)
		return -ENOTTY;
	if (cmd == BLKFILTER_GUARD_SET_RULES && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (*plen != sizeof(arg))
		return -EINVAL;
	if (copy_from_user(&arg, buf, sizeof(arg)))
		return -EFAULT;
	if (cmd == BLKFILTER_GUARD_SET_RULES)
		return guard_set_rules(guard, &arg);
	ret = guard_get_rules(guard, &arg);
	if (!ret && copy_to_user(buf, &arg, sizeof(arg)))
		ret = -EFAULT;
	return ret;
}
