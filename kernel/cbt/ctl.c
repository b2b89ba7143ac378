// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands of cbt; their structs are documented in the UAPI header.
 */
#include <linux/capability.h>
#include <linux/log2.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "cbt.h"

/* What a command collects before it copies to user space. */
#define CTL_CHUNK	PAGE_SIZE

/* Somebody may name the generation that he means. Answers with the current one. */
static int cbt_check_generation(struct cbt *cbt, __u8 *generation)
{
	uuid_t asked;

	import_uuid(&asked, generation);
	if (!uuid_is_null(&asked) && !uuid_equal(&asked, &cbt->generation))
		return -ESTALE;
	export_uuid(generation, &cbt->generation);
	return 0;
}

/*
 * A reader names an epoch, and may name the generation it took it in. Answers with
 * the current ones, which are at least as new as anything read after this.
 */
static int cbt_check_since(struct cbt *cbt, __u8 *generation, u64 since, u64 *epoch)
{
	int ret = cbt_check_generation(cbt, generation);

	if (ret)
		return ret;
	*epoch = READ_ONCE(cbt->epoch);
	if (since < 1 || since > *epoch)
		return -EINVAL;
	return 0;
}

/* ---- INFO, CONFIGURE, MARK ---------------------------------------------- */

static int cbt_info(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_info *info = arg;
	struct cbt_map *map;

	memset(info, 0, sizeof(*info));
	down_read(&cbt->lock);
	map = cbt_map(cbt);
	info->sectors = bdev_nr_sectors(cbt->bdev);
	info->epoch = READ_ONCE(cbt->epoch);
	info->memory = map_memory(map);
	info->overreported = map_overreported(map);
	info->block_size = SECTOR_SIZE << map_block_shift(map);
	info->gap = cbt->gap;
	export_uuid(info->generation, &cbt->generation);
	up_read(&cbt->lock);
	return 0;
}

/* Marks of @from, in the only epoch there is yet, on into @to. */
static void cbt_carry_over(struct cbt_map *from, struct cbt_map *to, u32 epoch)
{
	struct cbt_reader reader = map_read(from, 0, epoch);
	struct cbt_run runs[CBT_RUNS];
	unsigned int count, i;

	do {
		count = map_next(&reader, runs);
		for (i = 0; i < count; i++) {
			if (runs[i].start < runs[i].end)
				map_mark(to, runs[i].start, runs[i].end - runs[i].start, epoch);
		}
		cond_resched();
	} while (runs[count - 1].end < map_sectors(from));
}

static bool block_size_valid(unsigned int size)
{
	return is_power_of_2(size) && size >= BLKFILTER_CBT_BLOCK_SIZE_MIN &&
	       size <= BLKFILTER_CBT_BLOCK_SIZE_MAX;
}

static int cbt_configure(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_config *config = arg;
	struct cbt_map *old, *new;
	int ret = 0;

	if (config->reserved || !block_size_valid(config->block_size))
		return -EINVAL;

	mutex_lock(&cbt->checkpoint_lock);
	down_write(&cbt->lock);
	if (cbt->configured || cbt->epoch != 1) {
		ret = -EBUSY;
		goto unlock;
	}
	old = cbt_map(cbt);
	new = map_create(bdev_nr_sectors(cbt->bdev), config->block_size);
	if (!new) {
		ret = -ENOMEM;
		goto unlock;
	}
	rcu_assign_pointer(cbt->map, new);
	synchronize_rcu();
	cbt_carry_over(old, new, cbt->epoch);
	map_free(old);
	cbt->configured = true;
unlock:
	up_write(&cbt->lock);
	mutex_unlock(&cbt->checkpoint_lock);
	return ret;
}

/* Of an attach rule: nothing, or block-size=BYTES. */
int cbt_options(struct blkfilter *flt, const char *options)
{
	size_t prefix = str_has_prefix(options, "block-size=");
	struct blkfilter_cbt_config config = {};
	int ret;

	if (!*options)
		return 0;
	ret = prefix ? kstrtou32(options + prefix, 0, &config.block_size) : -EINVAL;
	if (ret || !block_size_valid(config.block_size))
		return ret ?: -EINVAL;
	return flt ? cbt_configure(container_of(flt, struct cbt, flt), &config) : 0;
}

static int cbt_mark(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_extent *extent = arg;
	sector_t sectors = bdev_nr_sectors(cbt->bdev);
	bool done;

	if (!extent->count || extent->sector >= sectors ||
	    extent->count > sectors - extent->sector)
		return -EINVAL;
	down_read(&cbt->lock);
	done = cbt_mark_slowly(cbt, extent->sector, extent->sector + extent->count, true);
	up_read(&cbt->lock);
	return done ? 0 : -EINTR;
}

/* ---- CHECKPOINT ---------------------------------------------------------- */

/*
 * Start a new epoch.
 *
 * A write is marked when it is submitted, in the epoch of that moment, and may
 * complete much later. What was marked in the old epoch must have completed before
 * the checkpoint returns: else a reader that copies the device now, and asks for
 * the changes since the new epoch later, would miss it. So the new epoch is made
 * visible first and the device drained after it:
 *
 * - a bio that reads the old epoch passed the hook before the drain began, and
 *   the drain waits for it;
 * - any later one reads the new epoch.
 *
 * If draining fails the new epoch stands and is not told to anybody, nor listed, which
 * harms nothing: "since E" holds what changed in E and in all later epochs.
 */
static int cbt_checkpoint(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_checkpoint *checkpoint = arg;
	int ret = -EOVERFLOW;

	memset(checkpoint, 0, sizeof(*checkpoint));
	mutex_lock(&cbt->checkpoint_lock);
	if (cbt->epoch < U32_MAX) {
		WRITE_ONCE(cbt->epoch, cbt->epoch + 1);
		ret = blkfilter_drain(READ_ONCE(cbt->bdev));
		checkpoint->epoch = cbt->epoch;
		down_read(&cbt->lock);
		export_uuid(checkpoint->generation, &cbt->generation);
		if (!ret)
			epochs_add(cbt->epochs, cbt->epoch);
		up_read(&cbt->lock);
	}
	mutex_unlock(&cbt->checkpoint_lock);
	return ret;
}

/* ---- EPOCHS, NAME_EPOCH, FORGET ------------------------------------------- */

static int cbt_epochs(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_epochs *e = arg;
	struct blkfilter_cbt_epoch *list;
	int ret;

	if (!e->capacity)
		return -EINVAL;
	list = kvcalloc(BLKFILTER_CBT_EPOCHS_MAX, sizeof(*list), GFP_KERNEL);
	if (!list)
		return -ENOMEM;

	down_read(&cbt->lock);
	ret = cbt_check_generation(cbt, e->generation);
	if (!ret) {
		e->gap = cbt->gap;
		epochs_read(cbt->epochs, e, list);
	}
	up_read(&cbt->lock);
	if (!ret && copy_to_user(u64_to_user_ptr(e->epochs), list, e->count * sizeof(*list)))
		ret = -EFAULT;
	kvfree(list);
	return ret;
}

static int cbt_name_epoch(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_epoch_name *n = arg;
	int ret;

	down_read(&cbt->lock);
	ret = cbt_check_generation(cbt, n->generation);
	if (!ret)
		ret = epochs_name(cbt->epochs, n->epoch, n->name);
	up_read(&cbt->lock);
	return ret;
}

static int cbt_forget(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_forget *forget = arg;

	return epochs_forget(cbt->epochs, forget->name);
}

/* ---- CHANGES and BITMAP -------------------------------------------------- */

/*
 * Extents on their way to the user's array, and the one that the next run may be joined
 * to; none is begun as long as @begun and @end are the same.
 */
struct extent_writer {
	sector_t begun, end;
	struct blkfilter_cbt_extent __user *to;
	struct blkfilter_cbt_extent *chunk;
	unsigned int filled, size;
};

static int extents_flush(struct extent_writer *w)
{
	if (copy_to_user(w->to, w->chunk, w->filled * sizeof(*w->chunk)))
		return -EFAULT;
	w->to += w->filled;
	w->filled = 0;
	return 0;
}

/* Put the extent that is begun, if one is. */
static int extents_put(struct extent_writer *w)
{
	if (w->begun == w->end)
		return 0;
	w->chunk[w->filled++] = (struct blkfilter_cbt_extent) {
		.sector = w->begun,
		.count = w->end - w->begun,
	};
	return w->filled == w->size ? extents_flush(w) : 0;
}

/*
 * Take some runs. One that there is no room for is left for the next call: 1 then, 0 to
 * go on, or an error.
 */
static __always_inline int extents_take(struct extent_writer *w,
					struct blkfilter_cbt_changes *c,
					const struct cbt_run *runs, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		sector_t start = runs[i].start, end = min_t(sector_t, runs[i].end, c->end);

		c->cursor = end;
		if (start >= end)
			continue;
		if (start != w->end || w->begun == w->end) {
			if (extents_put(w))
				return -EFAULT;
			w->begun = w->end = start;
			if (c->count == c->capacity) {
				c->cursor = start;
				return 1;
			}
			c->count++;
		}
		w->end = end;
	}
	return 0;
}

/* Fill the array with what changed, from the cursor on. */
static int extents_collect(struct cbt_map *map, struct blkfilter_cbt_changes *c,
			   struct extent_writer *w)
{
	struct cbt_reader reader = map_read(map, c->cursor, c->since);
	struct cbt_run runs[CBT_RUNS];
	int ret = 0;

	while (c->cursor < c->end && !ret) {
		ret = extents_take(w, c, runs, map_next(&reader, runs));
		cond_resched();
		if (fatal_signal_pending(current))
			ret = -EINTR;
	}
	if (ret >= 0)
		ret = extents_put(w);
	return ret < 0 ? ret : extents_flush(w);
}

static int cbt_changes(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_changes *c = arg;
	sector_t sectors = bdev_nr_sectors(cbt->bdev);
	struct extent_writer w = {
		.to = u64_to_user_ptr(c->extents),
		.size = CTL_CHUNK / sizeof(*w.chunk),
	};
	int ret;

	if (!c->capacity)
		return -EINVAL;
	w.chunk = kmalloc(CTL_CHUNK, GFP_KERNEL);
	if (!w.chunk)
		return -ENOMEM;

	c->count = 0;
	if (!c->end || c->end > sectors)
		c->end = sectors;
	c->cursor = min(c->cursor, c->end);

	down_read(&cbt->lock);
	ret = cbt_check_since(cbt, c->generation, c->since, &c->epoch);
	if (!ret)
		ret = extents_collect(cbt_map(cbt), c, &w);
	up_read(&cbt->lock);
	kfree(w.chunk);
	return ret;
}

/* The bits of @blocks blocks from @sector on. */
static void bits_fill(struct cbt_map *map, unsigned long *bits, sector_t sector,
			unsigned int blocks, u32 since)
{
	struct cbt_reader reader = map_read(map, sector, since);
	unsigned int shift = map_block_shift(map), bit = 0, count, first, i;
	struct cbt_run runs[CBT_RUNS];

	bitmap_zero(bits, CTL_CHUNK * BITS_PER_BYTE);
	while (bit < blocks) {
		count = map_next(&reader, runs);
		for (i = 0; i < count; i++) {
			first = min_t(u64, blocks, (runs[i].start - sector) >> shift);
			/* The last block of the device may be shorter. */
			bit = min_t(u64, blocks,
				    (runs[i].end - sector + (1ull << shift) - 1) >> shift);
			if (runs[i].start < runs[i].end && first < bit)
				bitmap_set(bits, first, bit - first);
		}
	}
	/* Bytes in the order of their blocks, on any machine. */
	for (bit = 0; bit < CTL_CHUNK / sizeof(*bits); bit++)
		bits[bit] = (__force unsigned long)cpu_to_le64(bits[bit]);
}

static int bitmap_collect(struct cbt_map *map, struct blkfilter_cbt_bitmap *b,
			  unsigned long *bits)
{
	unsigned int shift = map_block_shift(map);
	__u8 __user *to = u64_to_user_ptr(b->bits);
	u64 left = DIV_ROUND_UP_ULL(b->count, 1ull << shift);
	sector_t sector = b->sector;

	if (sector & ((1ull << shift) - 1) || b->length < DIV_ROUND_UP_ULL(left, 8))
		return -EINVAL;
	while (left) {
		unsigned int blocks = min_t(u64, left, CTL_CHUNK * BITS_PER_BYTE);

		bits_fill(map, bits, sector, blocks, b->since);
		if (copy_to_user(to, bits, DIV_ROUND_UP(blocks, 8)))
			return -EFAULT;
		to += CTL_CHUNK;
		sector += (sector_t)blocks << shift;
		left -= blocks;
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int cbt_bitmap(struct cbt *cbt, void *arg)
{
	struct blkfilter_cbt_bitmap *b = arg;
	sector_t sectors = bdev_nr_sectors(cbt->bdev);
	unsigned long *bits;
	int ret;

	if (b->reserved || !b->count || b->sector >= sectors ||
	    b->count > sectors - b->sector)
		return -EINVAL;
	bits = kmalloc(CTL_CHUNK, GFP_KERNEL);
	if (!bits)
		return -ENOMEM;

	down_read(&cbt->lock);
	ret = cbt_check_since(cbt, b->generation, b->since, &b->epoch);
	if (!ret)
		ret = bitmap_collect(cbt_map(cbt), b, bits);
	up_read(&cbt->lock);
	kfree(bits);
	return ret;
}

/* ---- Dispatch ------------------------------------------------------------ */

static const struct cbt_command {
	int (*run)(struct cbt *cbt, void *arg);
	size_t size;
	bool admin;
} cbt_commands[] = {
	[BLKFILTER_CBT_INFO] = {
		cbt_info, sizeof(struct blkfilter_cbt_info), false },
	[BLKFILTER_CBT_CONFIGURE] = {
		cbt_configure, sizeof(struct blkfilter_cbt_config), true },
	[BLKFILTER_CBT_CHECKPOINT] = {
		cbt_checkpoint, sizeof(struct blkfilter_cbt_checkpoint), true },
	[BLKFILTER_CBT_CHANGES] = {
		cbt_changes, sizeof(struct blkfilter_cbt_changes), false },
	[BLKFILTER_CBT_BITMAP] = {
		cbt_bitmap, sizeof(struct blkfilter_cbt_bitmap), false },
	[BLKFILTER_CBT_MARK] = {
		cbt_mark, sizeof(struct blkfilter_cbt_extent), true },
	[BLKFILTER_CBT_EPOCHS] = {
		cbt_epochs, sizeof(struct blkfilter_cbt_epochs), false },
	[BLKFILTER_CBT_NAME_EPOCH] = {
		cbt_name_epoch, sizeof(struct blkfilter_cbt_epoch_name), true },
	[BLKFILTER_CBT_FORGET] = {
		cbt_forget, sizeof(struct blkfilter_cbt_forget), true },
};

/* Each command's struct is read, worked on in place, and written back. */
int cbt_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	    __u32 *plen)
{
	struct cbt *cbt = container_of(flt, struct cbt, flt);
	const struct cbt_command *command;
	union {
		struct blkfilter_cbt_info info;
		struct blkfilter_cbt_config config;
		struct blkfilter_cbt_checkpoint checkpoint;
		struct blkfilter_cbt_changes changes;
		struct blkfilter_cbt_bitmap bitmap;
		struct blkfilter_cbt_extent extent;
		struct blkfilter_cbt_epochs epochs;
		struct blkfilter_cbt_epoch_name name;
		struct blkfilter_cbt_forget forget;
	} arg;
	int ret;

	if (cmd >= ARRAY_SIZE(cbt_commands) || !cbt_commands[cmd].run)
		return -ENOTTY;
	command = &cbt_commands[cmd];
	if (command->admin && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (*plen != command->size)
		return -EINVAL;
	if (copy_from_user(&arg, buf, command->size))
		return -EFAULT;
	cbt_settle(cbt);
	ret = command->run(cbt, &arg);
	if (!ret && copy_to_user(buf, &arg, command->size))
		ret = -EFAULT;
	return ret;
}
