// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map: for each block, the epoch of its last change.
 *
 * A tree of three levels, like a page table. A leaf is a page of 1,024 cells of 32
 * bits, a node is a page of 512 slots, and the root is an array of as many slots
 * as the device needs. A slot holds either the page below it, or the one epoch
 * that its whole area was last changed in: 0 for never. So an area that was never
 * written, or was discarded as a whole, costs nothing and is read at once.
 *
 * Marking runs inside the hook: preemption is off, and the caller may be memory
 * reclaim itself. So pages are asked for without waiting and without touching the
 * reserves, and where there is none the whole area is recorded as changed: too
 * much is reported then, never too little.
 *
 * Cells and slots only ever grow. Two CPUs may mark one block in different epochs
 * at a checkpoint, and the older epoch must not replace the newer one, so a cell
 * is written by compare-and-exchange; and not at all when the block was marked in
 * this epoch already, which is the common case. A page, once in its slot, stays
 * until the map is freed.
 *
 * A device that grows gets a further tree for its new part, linked behind the first
 * one, while marking goes on in that. Each begins at a block's boundary.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "map.h"

#define LEAF_SHIFT	10	/* cells in a leaf: 4 KiB of u32 */
#define NODE_SHIFT	9	/* slots in a node: 4 KiB of unsigned long */
#define ROOT_SHIFT	(LEAF_SHIFT + NODE_SHIFT)

#define LEAF_CELLS	(1u << LEAF_SHIFT)
#define NODE_SLOTS	(1u << NODE_SHIFT)

/**
 * struct cbt_map - the epochs of a device's blocks, or of a part that it grew by
 * @start: sector of the device where the part begins
 * @end: sector where it ends; only grows, and only up to the end of its last block
 * @next: the part after it
 * @blocks: how many
 * @block_shift: from sectors to blocks
 * @slots: in @root
 * @pages: allocated below @root
 * @overreported: times that a page could not be had
 * @root: slots, each for 2^ROOT_SHIFT blocks
 */
struct cbt_map {
	sector_t start;
	sector_t end;
	struct cbt_map *next;
	u64 blocks;
	unsigned int block_shift;
	unsigned long slots;
	atomic_long_t pages;
	atomic64_t overreported;
	unsigned long *root;
};

/* ---- Slots ------------------------------------------------------------- */

static bool slot_is_page(unsigned long slot)
{
	return slot && !(slot & 1);
}

static u32 slot_epoch(unsigned long slot)
{
	return slot >> 1;
}

static unsigned long slot_uniform(u32 epoch)
{
	return (unsigned long)epoch << 1 | 1;
}

static void *page_alloc(void)
{
	return (void *)__get_free_page(GFP_NOWAIT | __GFP_NOWARN |
				       __GFP_NOMEMALLOC);
}

static void node_fill(void *page, u32 epoch)
{
	memset_l(page, slot_uniform(epoch), NODE_SLOTS);
}

static void leaf_fill(void *page, u32 epoch)
{
	memset32(page, epoch, LEAF_CELLS);
}

/*
 * Open a slot to mark a part of its area, or @whole of it. Returns the page below
 * it, in which the caller has to mark; or NULL when the slot itself says it all.
 */
static void *slot_open(struct cbt_map *map, unsigned long *slot, bool whole,
		       u32 epoch, void (*fill)(void *page, u32 epoch))
{
	unsigned long old = READ_ONCE(*slot);
	void *page = NULL;

	while (!slot_is_page(old)) {
		if (slot_epoch(old) >= epoch)
			goto marked;
		if (!whole && !page) {
			page = page_alloc();
			if (!page) {
				atomic64_inc(&map->overreported);
				whole = true;
			}
		}
		if (whole) {
			if (try_cmpxchg(slot, &old, slot_uniform(epoch)))
				goto marked;
			continue;
		}
		fill(page, slot_epoch(old));
		if (try_cmpxchg(slot, &old, (unsigned long)page)) {
			atomic_long_inc(&map->pages);
			return page;
		}
	}
	free_page((unsigned long)page);
	return (void *)old;

marked:
	free_page((unsigned long)page);
	return NULL;
}

/* ---- Marking ----------------------------------------------------------- */

static void leaf_mark(u32 *cells, unsigned int first, unsigned int last, u32 epoch)
{
	unsigned int i;

	for (i = first; i <= last; i++) {
		u32 old = READ_ONCE(cells[i]);

		while (old < epoch && !try_cmpxchg(&cells[i], &old, epoch))
			;
	}
}

/* Blocks @first to @last, all below one slot of the root. */
static void node_mark(struct cbt_map *map, unsigned long *slots, u64 first,
		      u64 last, u32 epoch)
{
	while (first <= last) {
		u64 end = min(last, first | (LEAF_CELLS - 1));
		bool whole = end - first == LEAF_CELLS - 1;
		unsigned long *slot = &slots[(first >> LEAF_SHIFT) & (NODE_SLOTS - 1)];
		u32 *cells = slot_open(map, slot, whole, epoch, leaf_fill);

		if (cells)
			leaf_mark(cells, first & (LEAF_CELLS - 1),
				  end & (LEAF_CELLS - 1), epoch);
		first = end + 1;
	}
}

/* What of @sector to @end lies in one part. */
static void part_mark(struct cbt_map *map, sector_t sector, sector_t end, u32 epoch)
{
	const u64 area = (1ull << ROOT_SHIFT) - 1;
	u64 first, last;

	sector = max(sector, map->start);
	end = min(end, READ_ONCE(map->end));
	if (sector >= end)
		return;
	first = (sector - map->start) >> map->block_shift;
	last = (end - 1 - map->start) >> map->block_shift;

	while (first <= last) {
		u64 stop = min(last, first | area);
		unsigned long *slot = &map->root[first >> ROOT_SHIFT];
		unsigned long *slots = slot_open(map, slot, stop - first == area,
						 epoch, node_fill);

		if (slots)
			node_mark(map, slots, first, stop, epoch);
		first = stop + 1;
	}
}

/*
 * map_mark() - record a change of @count sectors from @sector on, in @epoch
 *
 * What lies beyond the map is left out: readers are told that all of it is changed.
 */
void map_mark(struct cbt_map *map, sector_t sector, sector_t count, u32 epoch)
{
	for (; map; map = smp_load_acquire(&map->next))
		part_mark(map, sector, sector + count, epoch);
}

/* ---- Reading ----------------------------------------------------------- */

/* A run of blocks, from the one asked for on. */
struct block_run {
	u64 count;
	bool changed;
};

/* Of @slot's whole area, of 2^@shift blocks, from @block to the area's end. */
static struct block_run slot_run(unsigned long slot, unsigned int shift, u64 block,
				 u32 since)
{
	return (struct block_run) {
		.count = (1ull << shift) - (block & ((1ull << shift) - 1)),
		.changed = slot_epoch(slot) >= since,
	};
}

static struct block_run leaf_run(const u32 *cells, u64 block, u32 since)
{
	unsigned int first = block & (LEAF_CELLS - 1), i = first;
	bool changed = READ_ONCE(cells[i]) >= since;

	while (++i < LEAF_CELLS && (READ_ONCE(cells[i]) >= since) == changed)
		;
	return (struct block_run) {
		.count = i - first,
		.changed = changed,
	};
}

static struct block_run part_run(struct cbt_map *map, u64 block, u32 since)
{
	unsigned long slot = READ_ONCE(map->root[block >> ROOT_SHIFT]);
	unsigned int shift = ROOT_SHIFT;

	if (slot_is_page(slot)) {
		const unsigned long *slots = (unsigned long *)slot;

		slot = READ_ONCE(slots[(block >> LEAF_SHIFT) & (NODE_SLOTS - 1)]);
		shift = LEAF_SHIFT;
	}
	if (slot_is_page(slot))
		return leaf_run((u32 *)slot, block, since);
	return slot_run(slot, shift, block, since);
}

/*
 * map_run() - the run of sectors from @sector on that are all changed in epoch @since
 * or later, or all not
 *
 * A run ends at the end of a leaf at the latest; the caller joins neighbours. Beyond
 * the map all is changed: nothing is known of it.
 */
struct cbt_run map_run(struct cbt_map *map, sector_t sector, u32 since)
{
	struct block_run run;
	u64 block;

	while (map && sector >= READ_ONCE(map->end))
		map = smp_load_acquire(&map->next);
	if (!map)
		return (struct cbt_run) { .end = LLONG_MAX, .changed = true };

	block = (sector - map->start) >> map->block_shift;
	run = part_run(map, block, since);
	return (struct cbt_run) {
		.end = min(map->start + ((block + run.count) << map->block_shift),
			   READ_ONCE(map->end)),
		.changed = run.changed,
	};
}

/* ---- Making and freeing ------------------------------------------------- */

static struct cbt_map *part_create(sector_t start, sector_t end,
				   unsigned int block_shift)
{
	struct cbt_map *map = kzalloc(sizeof(*map), GFP_KERNEL);

	BUILD_BUG_ON(LEAF_CELLS * sizeof(u32) > PAGE_SIZE);
	BUILD_BUG_ON(NODE_SLOTS * sizeof(unsigned long) > PAGE_SIZE);
	/* A slot holds an epoch of 32 bits and a tag. */
	BUILD_BUG_ON(sizeof(unsigned long) != sizeof(u64));

	if (!map)
		return NULL;
	map->start = start;
	map->end = end;
	map->block_shift = block_shift;
	map->blocks = DIV_ROUND_UP_ULL(end - start, 1ull << block_shift);
	map->slots = DIV_ROUND_UP_ULL(map->blocks, 1ull << ROOT_SHIFT);
	map->root = kvcalloc(map->slots, sizeof(*map->root), GFP_KERNEL);
	if (!map->root) {
		kfree(map);
		return NULL;
	}
	return map;
}

/* map_create() - NULL when there is no memory; @block_size in bytes */
struct cbt_map *map_create(sector_t sectors, unsigned int block_size)
{
	return part_create(0, sectors, ilog2(block_size) - SECTOR_SHIFT);
}

/*
 * map_grow() - make room for a device that now has @sectors sectors
 *
 * One at a time. Without memory for it the new part stays beyond the map.
 */
void map_grow(struct cbt_map *map, sector_t sectors)
{
	sector_t end;

	while (map->next)
		map = map->next;
	end = map->start + (map->blocks << map->block_shift);
	WRITE_ONCE(map->end, min(sectors, end));
	if (sectors > end)
		/* A walk that meets the new part finds it complete. */
		smp_store_release(&map->next,
				  part_create(end, sectors, map->block_shift));
}

static void node_free(unsigned long *slots)
{
	unsigned int i;

	for (i = 0; i < NODE_SLOTS; i++) {
		if (slot_is_page(slots[i]))
			free_page(slots[i]);
	}
	free_page((unsigned long)slots);
}

void map_free(struct cbt_map *map)
{
	struct cbt_map *next;
	unsigned long i;

	for (; map; map = next) {
		next = map->next;
		for (i = 0; i < map->slots; i++) {
			if (slot_is_page(map->root[i]))
				node_free((unsigned long *)map->root[i]);
			cond_resched();
		}
		kvfree(map->root);
		kfree(map);
	}
}

/* map_area_end() - about the end of the area that one slot of the root stands for */
sector_t map_area_end(const struct cbt_map *map, sector_t sector)
{
	return (sector | ((1ull << (ROOT_SHIFT + map->block_shift)) - 1)) + 1;
}

/* map_sectors() - of the device, as far as the map knows it */
sector_t map_sectors(const struct cbt_map *map)
{
	while (map->next)
		map = map->next;
	return map->end;
}

/* map_block_shift() - from sectors to blocks */
unsigned int map_block_shift(const struct cbt_map *map)
{
	return map->block_shift;
}

/* map_memory() - bytes that the map holds */
u64 map_memory(const struct cbt_map *map)
{
	u64 bytes = 0;

	for (; map; map = map->next)
		bytes += sizeof(*map) + map->slots * sizeof(*map->root) +
			 (u64)atomic_long_read(&map->pages) * PAGE_SIZE;
	return bytes;
}

/* map_overreported() - times that an area was reported whole for want of memory */
u64 map_overreported(const struct cbt_map *map)
{
	u64 times = 0;

	for (; map; map = map->next)
		times += atomic64_read(&map->overreported);
	return times;
}
