// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios that are being delayed.
 *
 * A bio is kept until it is due and then goes on from a worker. Its submitter does
 * not wait: below a stacking driver that would keep up all that the driver has yet
 * to send. Flushes and writes need no order among each other here, since the block
 * layer promises none between bios that are in flight together.
 *
 * What holds a bio comes from a pool, for the bio may be memory reclaim's own. If the
 * pool is empty the submitter waits for a bio to become due; that needs nothing
 * but time.
 */
#include <linux/ktime.h>

#include "guard.h"

/* What can be held when there is no memory left. */
#define HELD_RESERVE	64

struct held {
	struct timerqueue_node node;
	struct bio *bio;
};

/* Let the worker come when the first bio is due. */
static void hold_schedule(struct guard *guard)
{
	struct timerqueue_node *first = timerqueue_getnext(&guard->held);
	s64 left;

	lockdep_assert_held(&guard->held_lock);
	if (!first)
		return;
	left = guard->going ? 0 : max_t(s64, first->expires - ktime_get(), 0);
	mod_delayed_work(guard->workers, &guard->release, nsecs_to_jiffies(left) + !!left);
}

/*
 * hold_bio() - keep a bio for as long as a verdict says
 *
 * False when the rules were replaced meanwhile: those who replaced them have let go
 * all that the old ones delayed, and count on there being no more.
 */
bool hold_bio(struct guard *guard, struct bio *bio, struct guard_verdict verdict)
{
	struct held *held = mempool_alloc(&guard->held_pool, GFP_NOIO);
	struct guard_rules *rules;
	bool valid;

	timerqueue_init(&held->node);
	held->node.expires = ktime_add_ms(ktime_get(), verdict.argument);
	held->bio = bio;

	spin_lock(&guard->held_lock);
	rules = rcu_dereference_protected(guard->rules, lockdep_is_held(&guard->held_lock));
	valid = verdict.serial == rules->serial;
	if (valid) {
		guard->held_count++;
		if (timerqueue_add(&guard->held, &held->node))
			hold_schedule(guard);
	}
	spin_unlock(&guard->held_lock);

	if (!valid)
		mempool_free(held, &guard->held_pool);
	return valid;
}

/* Take out those bios that are due at @now. */
static struct bio_list hold_take(struct guard *guard, ktime_t now)
{
	struct bio_list due = BIO_EMPTY_LIST;
	struct timerqueue_node *first;
	struct held *held;

	lockdep_assert_held(&guard->held_lock);
	while ((first = timerqueue_getnext(&guard->held)) && first->expires <= now) {
		held = container_of(first, struct held, node);
		timerqueue_del(&guard->held, first);
		guard->held_count--;
		bio_list_add(&due, held->bio);
		mempool_free(held, &guard->held_pool);
	}
	hold_schedule(guard);
	return due;
}

static void hold_send(struct guard *guard, struct bio_list bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(&bios)))
		blkfilter_submit_below(&guard->flt, bio);
}

static void hold_work(struct work_struct *work)
{
	struct guard *guard = container_of(to_delayed_work(work), struct guard, release);
	struct bio_list due;

	spin_lock(&guard->held_lock);
	due = hold_take(guard, guard->going ? KTIME_MAX : ktime_get());
	spin_unlock(&guard->held_lock);
	hold_send(guard, due);
}

/*
 * hold_replace_rules() - put other rules in force, and let go what the old ones delay
 *
 * For whoever holds @rules_lock, and frees the old ones.
 */
void hold_replace_rules(struct guard *guard, struct guard_rules *rules)
{
	struct bio_list delayed;

	spin_lock(&guard->held_lock);
	rcu_assign_pointer(guard->rules, rules);
	delayed = hold_take(guard, KTIME_MAX);
	spin_unlock(&guard->held_lock);
	hold_send(guard, delayed);
	/* The worker may be about to send more: those are neither held nor in flight. */
	flush_work(&guard->release.work);
	rcu_assign_pointer(guard->enforced, rules);
}

/*
 * hold_no_longer() - the device goes: let all bios go, and hold none from now on
 *
 * By the worker only: the caller may be a driver that keeps the device's queue frozen, and
 * would wait in it for itself. The worker waits there until the driver lets the queue go, or
 * has marked the disk dead, which fails what waits.
 */
void hold_no_longer(struct guard *guard)
{
	spin_lock(&guard->held_lock);
	guard->going = true;
	hold_schedule(guard);
	spin_unlock(&guard->held_lock);
}

u32 hold_count(struct guard *guard)
{
	return READ_ONCE(guard->held_count);
}

int hold_init(struct guard *guard)
{
	int ret;

	spin_lock_init(&guard->held_lock);
	timerqueue_init_head(&guard->held);
	INIT_DELAYED_WORK(&guard->release, hold_work);
	ret = mempool_init_kmalloc_pool(&guard->held_pool, HELD_RESERVE,
					sizeof(struct held));
	if (ret)
		return ret;
	guard->workers = alloc_workqueue("blkfilter_guard", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	if (!guard->workers) {
		mempool_exit(&guard->held_pool);
		return -ENOMEM;
	}
	return 0;
}

/* hold_exit() - let everything go, when no bio comes any more, and wait until it went */
void hold_exit(struct guard *guard)
{
	hold_no_longer(guard);
	flush_delayed_work(&guard->release);
	destroy_workqueue(guard->workers);
	mempool_exit(&guard->held_pool);
}
