// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables of device-mapper devices: what such a device stands for.
 *
 * Two tables are compared to find out whether a swap kept the device's content, as
 * extending a logical volume does. Of each target its place is kept, and a keyed hash of
 * its type and parameters, for these may hold the key of an encrypted device.
 *
 * dm may be a module, or not there at all: its functions are looked up when the first
 * filter comes to a device of its, and dm stays loaded from then on. Three of them are not
 * exported. Their addresses are had from a probe that is never armed, and they are called by
 * static calls, which are patched to be direct ones: an indirect call would need a landing
 * pad, which kernels with IBT take away from functions that nobody calls so. Where the
 * three cannot be had, no table can be read, and a device may hold anything once its table
 * was swapped.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/static_call.h>
#include <linux/string.h>

#include "table.h"

/* dm's own header, which is not installed, declares this one. */
struct dm_target *dm_table_find_target(struct dm_table *t, sector_t sector);

DEFINE_STATIC_CALL_NULL(get_live_table, dm_get_live_table);
DEFINE_STATIC_CALL_NULL(put_live_table, dm_put_live_table);
DEFINE_STATIC_CALL_NULL(find_target, dm_table_find_target);

/* Read without a lock once @get is set, which is never taken back. */
static struct {
	typeof(dm_get_md) *get;
	typeof(dm_put) *put;
	typeof(dm_suspended) *suspended;
	bool readable;
} dm;

static DEFINE_MUTEX(dm_lock);
static siphash_key_t hash_key;

/**
 * struct table - what a device stands for
 * @count: targets
 * @targets: in their order; @hash is of the type and parameters, and 0 where these do not
 *	say what the target's content is
 */
struct table {
	unsigned int count;
	struct table_target {
		sector_t begin;
		sector_t len;
		u64 hash;
	} targets[];
};

/* ---- dm's functions ------------------------------------------------------ */

/* Where a function of dm begins, or NULL. */
static void *dm_function(const char *name)
{
	struct kprobe probe = { .flags = KPROBE_FLAG_DISABLED };
	char *symbol = kasprintf(GFP_KERNEL, "%s%s",
				 IS_MODULE(CONFIG_BLK_DEV_DM) ? "dm_mod:" : "", name);
	char *place = kmalloc(KSYM_SYMBOL_LEN, GFP_KERNEL);
	unsigned long offset;
	void *function = NULL;

	probe.symbol_name = symbol;
	if (symbol && place && !register_kprobe(&probe)) {
		/* A probe stands behind the landing pad. */
		sprint_symbol(place, (unsigned long)probe.addr);
		if (!strncmp(place, name, strlen(name)) &&
		    sscanf(place + strlen(name), "+0x%lx/", &offset) == 1)
			function = (void *)probe.addr - offset;
		unregister_kprobe(&probe);
	}
	kfree(place);
	kfree(symbol);
	return function;
}

static void dm_make_readable(void)
{
	void *get = dm_function("dm_get_live_table");
	void *put = dm_function("dm_put_live_table");
	void *find = dm_function("dm_table_find_target");

	dm.suspended = symbol_get(dm_suspended);
	if (!get || !put || !find || !dm.suspended) {
		pr_warn("the tables of device-mapper devices cannot be read: a filter knows nothing more of one whose table is reloaded, until it is attached anew\n");
		return;
	}
	static_call_update(get_live_table, get);
	static_call_update(put_live_table, put);
	static_call_update(find_target, find);
	dm.readable = true;
}

/* Find dm, if it is there. What was found holds it. */
static bool dm_find(void)
{
	typeof(dm_get_md) *get;

	mutex_lock(&dm_lock);
	if (!dm.get) {
		get = symbol_get(dm_get_md);
		dm.put = get ? symbol_get(dm_put) : NULL;
		if (dm.put) {
			dm_make_readable();
			smp_store_release(&dm.get, get);
		} else if (get) {
			symbol_put(dm_get_md);
		}
	}
	mutex_unlock(&dm_lock);
	return dm.get;
}

void table_start(void)
{
	get_random_bytes(&hash_key, sizeof(hash_key));
}

/* table_stop() - at exit */
void table_stop(void)
{
	if (dm.suspended)
		symbol_put(dm_suspended);
	if (dm.get) {
		symbol_put(dm_put);
		symbol_put(dm_get_md);
	}
}

/* table_has() - is this a device-mapper device? May sleep */
bool table_has(struct gendisk *disk)
{
	struct mapped_device *md = dm_find() ? dm.get(disk_devt(disk)) : NULL;

	if (md)
		dm.put(md);
	return md;
}

/* ---- Reading ------------------------------------------------------------- */

/*
 * The types whose parameters say what each sector holds, whatever the target's length. Of the
 * others (snapshots, caches, RAID…) that depends on a state besides. A thin volume is opened
 * for the new table while the old one has it open, and is kept by its pool as long as it is.
 * What these do to tell their parameters does not sleep.
 */
static bool says_all(const struct dm_target *target)
{
	static const char *const types[] = { "linear", "striped", "crypt", "zero", "thin" };

	return match_string(types, ARRAY_SIZE(types), target->type->name) >= 0;
}

/* The parameters, as `dmsetup table` shows them; false when they may be cut. */
static bool target_text(struct dm_target *target, char *text, size_t size)
{
	text[0] = '\0';
	if (target->type->status)
		target->type->status(target, STATUSTYPE_TABLE, 0, text, size);
	return strlen(text) < size - 1;
}

static u64 target_hash(struct dm_target *target, char *page)
{
	size_t len = strscpy(page, target->type->name, PAGE_SIZE) + 1;
	char *text = page + len;

	if (!says_all(target) || !target_text(target, text, PAGE_SIZE - len))
		return 0;
	/* Of a pool that has failed. */
	if (!strcmp(text, "Fail"))
		return 0;
	return siphash(page, len + strlen(text), &hash_key) ?: 1;
}

/**
 * struct reading - of a table
 * @to: where its targets go
 * @room: how many of them there is room for
 * @count: targets
 * @page: for a target's text
 */
struct reading {
	struct table_target *to;
	unsigned int room;
	unsigned int count;
	char *page;
};

static struct dm_target *target_at(struct dm_table *live, sector_t sector)
{
	return live ? static_call(find_target)(live, sector) : NULL;
}

static void read_target(struct reading *r, struct dm_target *target)
{
	if (r->count < r->room)
		r->to[r->count] = (struct table_target) {
			.begin = target->begin,
			.len = target->len,
			.hash = target_hash(target, r->page),
		};
	r->count++;
}

#define for_each_target(target, live)						\
	for (target = target_at(live, 0); target;				\
	     target = target_at(live, target->begin + target->len))

/*
 * The origin of snapshots holds what the device below it does: of a logical volume, that has the
 * table from before the first snapshot. Any other one is read as it is.
 */
static void read_origin(struct reading *r, struct dm_target *origin)
{
	struct mapped_device *md = NULL;
	unsigned int major, minor;
	struct dm_target *target;
	struct dm_table *live;
	int srcu;

	if (!origin->begin && target_text(origin, r->page, PAGE_SIZE) &&
	    sscanf(r->page, "%u:%u", &major, &minor) == 2)
		md = dm.get(MKDEV(major, minor));
	if (!md) {
		read_target(r, origin);
		return;
	}
	live = static_call(get_live_table)(md, &srcu);
	for_each_target(target, live)
		read_target(r, target);
	static_call(put_live_table)(md, srcu);
	dm.put(md);
}

static void read_targets(struct reading *r, struct dm_table *live)
{
	struct dm_target *target;

	r->count = 0;
	for_each_target(target, live) {
		if (!strcmp(target->type->name, "snapshot-origin"))
			read_origin(r, target);
		else
			read_target(r, target);
	}
}

static struct table *table_make(struct dm_table *live)
{
	gfp_t gfp = GFP_NOWAIT | __GFP_NOWARN;
	struct reading r = { .page = kmalloc(PAGE_SIZE, gfp) };
	struct table *table = NULL;

	if (!r.page)
		return NULL;
	read_targets(&r, live);
	table = kmalloc(struct_size(table, targets, r.count), gfp);
	if (table) {
		table->count = r.room = r.count;
		r.to = table->targets;
		read_targets(&r, live);
		/* The device below an origin may have got another table. */
		if (r.count != table->count) {
			kfree(table);
			table = NULL;
		}
	}
	kfree_sensitive(r.page);
	return table;
}

/*
 * table_read() - what a device-mapper device stands for now
 * @swapping: set if that is perhaps about to change: dm swaps only a suspended device's
 *	table, and resumes it after that
 *
 * Does not sleep. Return: the table, for the caller to free, or NULL if it is not known
 */
struct table *table_read(struct gendisk *disk, bool *swapping)
{
	struct mapped_device *md;
	struct table *table = NULL;
	struct dm_target *first;
	struct dm_table *live;
	int srcu;

	*swapping = true;
	if (!dm.readable)
		return NULL;
	md = dm.get(disk_devt(disk));
	if (!md)
		return NULL;
	live = static_call(get_live_table)(md, &srcu);
	first = target_at(live, 0);
	if (first)
		*swapping = dm.suspended(first);
	table = table_make(live);
	static_call(put_live_table)(md, srcu);
	dm.put(md);
	return table;
}

/*
 * table_keeps() - is the content the same with @new, as far as both tables reach?
 *
 * Where one of two targets that are alike is longer, the other one has to be the last.
 */
bool table_keeps(const struct table *old, const struct table *new)
{
	unsigned int i;

	if (!old || !new)
		return false;
	for (i = 0; i < old->count && i < new->count; i++) {
		const struct table_target *a = &old->targets[i], *b = &new->targets[i];

		if (a->begin != b->begin || a->hash != b->hash || !a->hash)
			return false;
		if (a->len < b->len)
			return i == old->count - 1;
		if (a->len > b->len)
			return i == new->count - 1;
	}
	return true;
}
