// SPDX-License-Identifier: GPL-2.0-only
/*
 * The epochs of a generation that readers can begin from, with their times and names.
 *
 * They are kept here, and not in a file, so that they end together with what they stand
 * for: a name never leads to an epoch of another generation.
 */
#include <linux/ctype.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "epochs.h"

/**
 * struct cbt_epochs - a list of bounded size, ascending, and never empty
 * @lock: protects all of it. It is taken last, and nobody sleeps under it for long
 * @began: when the generation did
 * @count: how many are listed
 * @named: how many of these have a name: fewer than there is room for, so that one
 *	without can always be dropped
 * @list: the epochs
 */
struct cbt_epochs {
	struct mutex lock;
	struct timespec64 began;
	unsigned int count;
	unsigned int named;
	struct blkfilter_cbt_epoch list[BLKFILTER_CBT_EPOCHS_MAX];
};

static_assert(BLKFILTER_CBT_EPOCHS_NAMED_MAX < BLKFILTER_CBT_EPOCHS_MAX);

struct cbt_epochs *epochs_create(void)
{
	struct cbt_epochs *epochs = kvzalloc(sizeof(*epochs), GFP_KERNEL);

	if (epochs)
		mutex_init(&epochs->lock);
	return epochs;
}

void epochs_free(struct cbt_epochs *epochs)
{
	kvfree(epochs);
}

/* Drop the oldest that has no name. */
static void epochs_drop(struct cbt_epochs *epochs)
{
	unsigned int i = 0;

	while (epochs->list[i].name[0])
		i++;
	epochs->count--;
	memmove(&epochs->list[i], &epochs->list[i + 1],
		(epochs->count - i) * sizeof(epochs->list[0]));
}

static void epochs_append(struct cbt_epochs *epochs, u64 epoch)
{
	struct timespec64 now;

	if (epochs->count == ARRAY_SIZE(epochs->list))
		epochs_drop(epochs);
	ktime_get_real_ts64(&now);
	epochs->list[epochs->count++] = (struct blkfilter_cbt_epoch) {
		.epoch = epoch,
		.seconds = now.tv_sec,
		.nanoseconds = now.tv_nsec,
	};
}

/* epochs_restart() - a new generation begins in @epoch */
void epochs_restart(struct cbt_epochs *epochs, u64 epoch)
{
	mutex_lock(&epochs->lock);
	epochs->count = 0;
	epochs->named = 0;
	ktime_get_real_ts64(&epochs->began);
	epochs_append(epochs, epoch);
	mutex_unlock(&epochs->lock);
}

/* epochs_add() - a checkpoint has begun @epoch, which a new generation may have done too */
void epochs_add(struct cbt_epochs *epochs, u64 epoch)
{
	mutex_lock(&epochs->lock);
	if (epochs->list[epochs->count - 1].epoch < epoch)
		epochs_append(epochs, epoch);
	mutex_unlock(&epochs->lock);
}

/* epochs_read() - fill @answer, and @to with as many as there are or @answer has room for */
void epochs_read(struct cbt_epochs *epochs, struct blkfilter_cbt_epochs *answer,
		 struct blkfilter_cbt_epoch *to)
{
	unsigned int first = 0, end;

	mutex_lock(&epochs->lock);
	while (first < epochs->count && epochs->list[first].epoch < answer->cursor)
		first++;
	answer->count = min(epochs->count - first, answer->capacity);
	end = first + answer->count;
	memcpy(to, &epochs->list[first], answer->count * sizeof(*to));
	answer->cursor = end < epochs->count ? epochs->list[end].epoch : 0;
	answer->seconds = epochs->began.tv_sec;
	answer->nanoseconds = epochs->began.tv_nsec;
	mutex_unlock(&epochs->lock);
}

/* ---- Names ---------------------------------------------------------------- */

/* A name is never a number, nor a mark or a path. */
static bool name_valid(const char *name)
{
	size_t length = strnlen(name, BLKFILTER_CBT_EPOCH_NAME_LENGTH), i;

	if (!length || length == BLKFILTER_CBT_EPOCH_NAME_LENGTH)
		return false;
	for (i = 0; i < length; i++) {
		bool letter = isascii(name[i]) && (isalpha(name[i]) || name[i] == '_');
		bool later = isdigit(name[i]) || name[i] == '-';

		if (!letter && !(i && later))
			return false;
	}
	return true;
}

static struct blkfilter_cbt_epoch *epochs_find(struct cbt_epochs *epochs, u64 epoch)
{
	unsigned int i;

	for (i = 0; i < epochs->count; i++) {
		if (epochs->list[i].epoch == epoch)
			return &epochs->list[i];
	}
	return NULL;
}

static struct blkfilter_cbt_epoch *epochs_named(struct cbt_epochs *epochs, const char *name)
{
	unsigned int i;

	for (i = 0; i < epochs->count; i++) {
		if (!strcmp(epochs->list[i].name, name))
			return &epochs->list[i];
	}
	return NULL;
}

static int epochs_name_locked(struct cbt_epochs *epochs, u64 epoch, const char *name)
{
	struct blkfilter_cbt_epoch *to = epochs_find(epochs, epoch);
	struct blkfilter_cbt_epoch *from = epochs_named(epochs, name);

	if (!to)
		return -ENODATA;
	if (to == from)
		return 0;
	if (to->name[0])
		return -EEXIST;
	if (!from && epochs->named == BLKFILTER_CBT_EPOCHS_NAMED_MAX)
		return -ENOSPC;
	if (from)
		memset(from->name, 0, sizeof(from->name));
	else
		epochs->named++;
	strscpy(to->name, name, sizeof(to->name));
	return 0;
}

/* epochs_name() - @name is that of @epoch from now on, whichever had it before */
int epochs_name(struct cbt_epochs *epochs, u64 epoch, const __u8 *name)
{
	int ret;

	if (!name_valid(name))
		return -EINVAL;
	mutex_lock(&epochs->lock);
	ret = epochs_name_locked(epochs, epoch, name);
	mutex_unlock(&epochs->lock);
	return ret;
}

/* epochs_forget() - no epoch has @name from now on */
int epochs_forget(struct cbt_epochs *epochs, const __u8 *name)
{
	struct blkfilter_cbt_epoch *from;

	if (!name_valid(name))
		return -EINVAL;
	mutex_lock(&epochs->lock);
	from = epochs_named(epochs, name);
	if (from) {
		memset(from->name, 0, sizeof(from->name));
		epochs->named--;
	}
	mutex_unlock(&epochs->lock);
	return from ? 0 : -ENODATA;
}
