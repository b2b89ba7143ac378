// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sets of rules.
 *
 * A set is made, checked, and then never changed. Bios are held against it under
 * RCU, without a lock; each CPU counts for itself, so that no memory is shared that
 * is written for each bio.
 *
 * The default is the rule after the last one, and applies to everything.
 */
#include <linux/cgroup.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "guard.h"

/* ---- Making a set -------------------------------------------------------- */

/* rules_create() - a set of so many rules, and a default, for the caller to fill in */
struct guard_rules *rules_create(u32 count)
{
	struct guard_rules *rules;

	rules = kvzalloc(struct_size(rules, rules, count + 1), GFP_KERNEL);
	if (!rules)
		return NULL;
	rules->counters = __alloc_percpu((count + 1) * sizeof(u64), sizeof(u64));
	if (!rules->counters) {
		kvfree(rules);
		return NULL;
	}
	rules->count = count;
	rules->rules[count] = (struct blkfilter_guard_rule) {
		.operations = BLKFILTER_GUARD_OPERATIONS,
		.action = BLKFILTER_GUARD_PASS,
		.chance = BLKFILTER_GUARD_ALWAYS,
	};
	return rules;
}

void rules_free(struct guard_rules *rules)
{
	free_percpu(rules->counters);
	kvfree(rules);
}

/*
 * Does the submitter of a bio get just this errno? A status of the block layer stands
 * for each of them that does. Two make the submitter, or device mapper in between,
 * try again, for ever.
 */
static bool errno_valid(u32 error)
{
	if (!error || error > MAX_ERRNO || error == EAGAIN || error == EREMCHG)
		return false;
	return blk_status_to_errno(errno_to_blk_status(-(int)error)) == -(int)error;
}

static bool action_valid(u32 action, u32 argument)
{
	switch (action) {
	case BLKFILTER_GUARD_PASS:
		return !argument;
	case BLKFILTER_GUARD_DENY:
		return errno_valid(argument);
	case BLKFILTER_GUARD_DELAY:
		return argument && argument <= BLKFILTER_GUARD_DELAY_MAX;
	default:
		return false;
	}
}

static bool rule_valid(const struct blkfilter_guard_rule *rule)
{
	return rule->operations && !(rule->operations & ~BLKFILTER_GUARD_OPERATIONS) &&
	       rule->count <= U64_MAX - rule->sector &&
	       rule->chance && rule->chance <= BLKFILTER_GUARD_ALWAYS &&
	       !rule->reserved && action_valid(rule->action, rule->argument);
}

/* rules_valid() - is this a set, default included, that rules_judge() can go by? */
bool rules_valid(const struct guard_rules *rules)
{
	u32 i;

	for (i = 0; i <= rules->count; i++) {
		if (!rule_valid(&rules->rules[i]))
			return false;
	}
	return true;
}

/* Whatever else it does, no rule for these lets a change pass. */
#define CHANGES_NOTHING	(BLKFILTER_GUARD_READ | BLKFILTER_GUARD_FLUSH | \
			 BLKFILTER_GUARD_ZONE_OPEN | BLKFILTER_GUARD_ZONE_CLOSE)

/*
 * rules_read_only() - do they deny every change of the device, to everybody, always?
 *
 * Only a rule that names changes as such denies those too that have no name yet.
 */
bool rules_read_only(const struct guard_rules *rules)
{
	const struct blkfilter_guard_rule *rule;
	u32 i;

	for (i = 0; i <= rules->count; i++) {
		rule = &rules->rules[i];
		if (rule->action != BLKFILTER_GUARD_DENY) {
			if (rule->operations & ~CHANGES_NOTHING)
				return false;
		} else if ((rule->operations & BLKFILTER_GUARD_CHANGE) && !rule->sector &&
			   !rule->count && !rule->pid && !rule->cgroup &&
			   rule->chance == BLKFILTER_GUARD_ALWAYS) {
			return true;
		}
	}
	return false;
}

/* ---- Going by it --------------------------------------------------------- */

static u32 operation_bit(struct bio *bio)
{
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return BLKFILTER_GUARD_READ;
	case REQ_OP_WRITE:
		return BLKFILTER_GUARD_WRITE;
	case REQ_OP_FLUSH:
		return BLKFILTER_GUARD_FLUSH;
	case REQ_OP_DISCARD:
		return BLKFILTER_GUARD_DISCARD;
	case REQ_OP_SECURE_ERASE:
		return BLKFILTER_GUARD_SECURE_ERASE;
	case REQ_OP_WRITE_ZEROES:
		return BLKFILTER_GUARD_WRITE_ZEROES;
	case REQ_OP_ZONE_APPEND:
		return BLKFILTER_GUARD_ZONE_APPEND;
	case REQ_OP_ZONE_OPEN:
		return BLKFILTER_GUARD_ZONE_OPEN;
	case REQ_OP_ZONE_CLOSE:
		return BLKFILTER_GUARD_ZONE_CLOSE;
	case REQ_OP_ZONE_FINISH:
		return BLKFILTER_GUARD_ZONE_FINISH;
	case REQ_OP_ZONE_RESET:
	case REQ_OP_ZONE_RESET_ALL:
		return BLKFILTER_GUARD_ZONE_RESET;
	default:
		return BLKFILTER_GUARD_OTHER;
	}
}

/* What a bio does. To flush is, to the block layer, to write nothing. */
static u32 bio_operations(struct bio *bio)
{
	if (bio_op(bio) == REQ_OP_WRITE && !bio_sectors(bio))
		return BLKFILTER_GUARD_FLUSH;
	if (blkfilter_changes_data(bio_op(bio)))
		return operation_bit(bio) | BLKFILTER_GUARD_CHANGE;
	return operation_bit(bio);
}

static bool touches(const struct blkfilter_guard_rule *rule,
		    struct blkfilter_range range)
{
	u64 count = rule->count ?: U64_MAX;

	if (!rule->sector && !rule->count)
		return true;
	if (range.sector < rule->sector)
		return rule->sector - range.sector < range.count;
	return range.count && range.sector - rule->sector < count;
}

/* What a kernel thread writes back belongs to whose control group made it dirty. */
static bool of_cgroup(struct bio *bio, u64 id)
{
	struct cgroup *cgroup = blkfilter_bio_cgroup(bio);

	while (cgroup && cgroup_id(cgroup) != id)
		cgroup = cgroup_parent(cgroup);
	return cgroup;
}

static bool by_chance(u32 chance)
{
	return chance == BLKFILTER_GUARD_ALWAYS ||
	       reciprocal_scale(get_random_u32(), BLKFILTER_GUARD_ALWAYS) < chance;
}

static bool rule_applies(const struct blkfilter_guard_rule *rule, u32 operations,
			 struct bio *bio, struct blkfilter_range range)
{
	return (rule->operations & operations) && touches(rule, range) &&
	       (!rule->pid || rule->pid == task_tgid_nr(current)) &&
	       (!rule->cgroup || of_cgroup(bio, rule->cgroup)) &&
	       by_chance(rule->chance);
}

/* rules_judge() - find the rule that decides about a bio, and count it */
struct guard_verdict rules_judge(struct guard *guard, struct bio *bio,
				 struct blkfilter_range range)
{
	const struct blkfilter_guard_rule *rule;
	u32 operations = bio_operations(bio);
	struct guard_verdict verdict;
	struct guard_rules *rules;

	rcu_read_lock();
	rules = rcu_dereference(guard->rules);
	rule = rules->rules;
	while (!rule_applies(rule, operations, bio, range))
		rule++;
	this_cpu_inc(rules->counters[rule - rules->rules]);
	verdict = (struct guard_verdict) {
		.action = rule->action,
		.argument = rule->argument,
		.serial = rules->serial,
	};
	rcu_read_unlock();
	return verdict;
}

static bool always_denies(const struct blkfilter_guard_rule *rule)
{
	return rule->action == BLKFILTER_GUARD_DENY && !rule->pid &&
	       rule->chance == BLKFILTER_GUARD_ALWAYS;
}

/*
 * rules_enforce() - does a bio that was let pass have to fail now?
 *
 * The rules may be others than those that let it pass: it was held back since, or is what
 * is left of a split. Where they are the same, the answer must be the same. So a rule that
 * may have let it pass ends the search, whatever stands below it: one that asks for a
 * process or for chance, or for sectors, which may have been in another part of a split.
 */
blk_status_t rules_enforce(struct guard *guard, struct bio *bio, struct blkfilter_range range)
{
	const struct blkfilter_guard_rule *rule;
	u32 operations = bio_operations(bio);
	blk_status_t status = BLK_STS_OK;
	struct guard_rules *rules;

	rcu_read_lock();
	rules = rcu_dereference(guard->enforced);
	rule = rules->rules;
	while (!(rule->operations & operations) ||
	       (rule->cgroup && !of_cgroup(bio, rule->cgroup)) ||
	       (always_denies(rule) && !touches(rule, range)))
		rule++;
	if (always_denies(rule)) {
		this_cpu_inc(rules->counters[rule - rules->rules]);
		status = errno_to_blk_status(-(int)rule->argument);
	}
	rcu_read_unlock();
	return status;
}
