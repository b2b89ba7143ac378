// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map: for each block, the epoch of its last change.
 *
 * A tree of three levels, like a page table. A leaf is a page of cells of 32 bits, a
 * node is a page of 512 slots, and the root is an array of as many slots as the
 * device needs. A slot holds either the page below it, or the one epoch that its
 * whole area was last changed in: 0 for never. So an area that was never written, or
 * was discarded as a whole, costs nothing and is read at once.
 *
 * A leaf consists of lines, each as long as a cache line: 15 cells, and before them
 * an epoch that none of these exceeds, by which a reader passes over a line in which
 * nothing changed. It is raised before a cell is.
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
 * A change of a whole tree, such as the reset of all zones, sets one epoch that counts for
 * all of it. That takes no longer than a bio, and what was below stays where it is.
 *
 * A device that grows gets a further tree for its new part, linked behind the first
 * one, while marking goes on in that. Each begins at a block's boundary.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "map.h"

#define LINE_CELLS	15	/* and the line's own epoch: 64 bytes */
#define LEAF_LINES	64
#define LEAF_BLOCKS	(LEAF_LINES * LINE_CELLS)
#define NODE_SLOTS	512
#define NODE_BLOCKS	((u64)NODE_SLOTS * LEAF_BLOCKS)

/**
 * struct line - a part of a leaf
 * @newest: no cell holds a later epoch
 * @cells: the epochs of blocks
 */
struct line {
	u32 newest;
	u32 cells[LINE_CELLS];
};

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
 * @all: the epoch in which all of the part was last changed at once
 * @root: slots, each for NODE_BLOCKS blocks
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
	u32 all;
	unsigned long *root;
};

/* ---- Slots ------------------------------------------------------------- */

static bool slot_is_page(unsigned long slot)
{
	return !(slot & 1);
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
	memset32(page, epoch, PAGE_SIZE / sizeof(u32));
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

static void raise(u32 *to, u32 epoch)
{
	u32 old = READ_ONCE(*to);

	while (old < epoch && !try_cmpxchg(to, &old, epoch))
		;
}

/* Blocks @first to @last of a leaf. */
static void leaf_mark(struct line *lines, unsigned int first, unsigned int last, u32 epoch)
{
	unsigned int i;

	for (i = first; i <= last; i++) {
		struct line *line = &lines[i / LINE_CELLS];

		raise(&line->newest, epoch);
		raise(&line->cells[i % LINE_CELLS], epoch);
	}
}

/* Blocks @first to @last below one slot of the root. */
static void node_mark(struct cbt_map *map, unsigned long *slots, u32 first,
		      u32 last, u32 epoch)
{
	while (first <= last) {
		u32 index = first / LEAF_BLOCKS, start = index * LEAF_BLOCKS;
		u32 end = min(last, start + LEAF_BLOCKS - 1);
		bool whole = end - first == LEAF_BLOCKS - 1;
		struct line *lines = slot_open(map, &slots[index], whole, epoch, leaf_fill);

		if (lines)
			leaf_mark(lines, first - start, end - start, epoch);
		first = end + 1;
	}
}

/* What of @sector to @end lies in one part. */
static void part_mark(struct cbt_map *map, sector_t sector, sector_t end, u32 epoch)
{
	u64 first, last;

	sector = max(sector, map->start);
	end = min(end, READ_ONCE(map->end));
	if (sector >= end)
		return;
	first = (sector - map->start) >> map->block_shift;
	last = (end - 1 - map->start) >> map->block_shift;
	if (!first && last == map->blocks - 1) {
		raise(&map->all, epoch);
		return;
	}

	while (first <= last) {
		u64 index = first / NODE_BLOCKS, start = index * NODE_BLOCKS;
		u64 stop = min(last, start + NODE_BLOCKS - 1);
		unsigned long *slots = slot_open(map, &map->root[index],
						 stop - first == NODE_BLOCKS - 1,
						 epoch, node_fill);

		if (slots)
			node_mark(map, slots, first - start, stop - start, epoch);
		first = stop + 1;
	}
}

/*
 * The common case, told by as few instructions as it takes: within one block of the
 * first part, which was marked in this epoch already.
 */
static __always_inline bool is_marked(const struct cbt_map *map, sector_t sector,
				      sector_t count, u32 epoch)
{
	u64 block, line, leaf;
	unsigned long slot;

	/* No sum is asked about, for a bio may claim any place: its end may have wrapped. */
	if (sector >= READ_ONCE(map->end))
		return false;
	block = sector >> map->block_shift;
	if ((sector + count - 1) >> map->block_shift != block)
		return false;
	line = block / LINE_CELLS;
	leaf = line / LEAF_LINES;

	slot = READ_ONCE(map->root[leaf / NODE_SLOTS]);
	if (!slot_is_page(slot))
		return slot_epoch(slot) >= epoch;
	slot = READ_ONCE(((unsigned long *)slot)[leaf % NODE_SLOTS]);
	if (!slot_is_page(slot))
		return slot_epoch(slot) >= epoch;
	return READ_ONCE(((struct line *)slot)[line % LEAF_LINES]
			 .cells[block - line * LINE_CELLS]) >= epoch;
}

/* Apart, so that the common case need not save registers for it. */
static noinline void parts_mark(struct cbt_map *map, sector_t sector, sector_t end, u32 epoch)
{
	for (; map; map = smp_load_acquire(&map->next))
		part_mark(map, sector, end, epoch);
}

/*
 * map_mark() - record a change of @count sectors from @sector on, in @epoch
 *
 * What lies beyond the map is left out: for readers all of it is changed.
 */
void map_mark(struct cbt_map *map, sector_t sector, sector_t count, u32 epoch)
{
	if (unlikely(!is_marked(map, sector, count, epoch)))
		parts_mark(map, sector, sector + count, epoch);
}

/* ---- Reading ----------------------------------------------------------- */

/* Which cells of a line hold @since or a later epoch: a bit for each. */
static __always_inline u32 line_changed(const struct line *line, u32 since)
{
	u64 older = 0;
	int i;

	/* The sign of a difference each: three instructions, and no branch. */
#pragma GCC unroll 15
	for (i = LINE_CELLS - 1; i >= 0; i--)
		older = older << 1 | ((u64)READ_ONCE(line->cells[i]) - since) >> 63;
	return ~older & (BIT(LINE_CELLS) - 1);
}

/* Blocks as sectors, cut to what was asked about and to the device. */
static __always_inline struct cbt_run run_of(const struct cbt_reader *r, u64 first, u64 end)
{
	const struct cbt_map *map = r->map;
	sector_t limit = READ_ONCE(map->end);

	return (struct cbt_run) {
		.start = clamp(map->start + (first << map->block_shift), r->from, limit),
		.end = min(map->start + (end << map->block_shift), limit),
	};
}

/* Go on at @block of the reader, where no leaf is being read. */
static struct cbt_run slot_next(struct cbt_reader *r)
{
	struct cbt_map *map = r->map, *next;
	u64 first = r->block, leaf = first / LEAF_BLOCKS, blocks = NODE_BLOCKS;
	unsigned int index, cell;
	unsigned long slot;

	if (first >= map->blocks) {
		next = smp_load_acquire(&map->next);
		if (!next)
			return (struct cbt_run) {
				.start = max(r->from, READ_ONCE(map->end)),
				.end = LLONG_MAX,
			};
		r->map = next;
		r->block = 0;
		return run_of(r, 0, 0);
	}
	if (READ_ONCE(map->all) >= r->since) {
		r->block = map->blocks;
		return run_of(r, first, r->block);
	}

	slot = READ_ONCE(map->root[leaf / NODE_SLOTS]);
	if (slot_is_page(slot)) {
		slot = READ_ONCE(((unsigned long *)slot)[leaf % NODE_SLOTS]);
		blocks = LEAF_BLOCKS;
	}
	r->block = (first / blocks + 1) * blocks;
	if (!slot_is_page(slot))
		return run_of(r, slot_epoch(slot) >= r->since ? first : r->block, r->block);

	index = first % LEAF_BLOCKS / LINE_CELLS;
	cell = first % LEAF_BLOCKS % LINE_CELLS;
	r->line = (struct line *)slot + index;
	r->lines_end = (struct line *)slot + LEAF_LINES;
	r->changed = line_changed(r->line++, r->since) & ~(BIT(cell) - 1);
	return run_of(r, first, first);
}

/*
 * map_read() - begin to read what changed in epoch @since or later, from @sector on
 */
struct cbt_reader map_read(struct cbt_map *map, sector_t sector, u32 since)
{
	struct cbt_map *next;

	while (sector >= READ_ONCE(map->end) && (next = smp_load_acquire(&map->next)))
		map = next;
	return (struct cbt_reader) {
		.map = map,
		.from = sector,
		.since = since,
		.block = sector < READ_ONCE(map->end) ?
			(sector - map->start) >> map->block_shift : map->blocks,
	};
}

/*
 * map_next() - the next runs of sectors that changed, at most CBT_RUNS
 *
 * Some may be empty, so that a reader can let others run, and some neighbours, for the
 * caller to join. The end of the last one is how far was read. Beyond the map all counts
 * as changed, for no changes are recorded there.
 *
 * Return: how many, at least one
 */
unsigned int map_next(struct cbt_reader *r, struct cbt_run *runs)
{
	const struct line *line = r->line, *end = r->lines_end;
	u32 changed = r->changed, since = r->since;
	unsigned int count = 0, length;
	u64 first;

	while (count < CBT_RUNS) {
		if (changed) {
			/* The next blocks of the line before @line. */
			first = r->block - (end - line + 1) * LINE_CELLS + __ffs(changed);
			length = __ffs(~(changed >> __ffs(changed)));
			runs[count++] = run_of(r, first, first + length);
			changed &= changed + (changed & -changed);
			continue;
		}
		while (line < end && READ_ONCE(line->newest) < since)
			line++;
		if (line == end)
			break;
		changed = line_changed(line++, since);
	}
	r->line = line;
	r->changed = changed;
	if (!count)
		runs[count++] = slot_next(r);
	return count;
}

/* ---- Making and freeing ------------------------------------------------- */

static struct cbt_map *part_create(sector_t start, sector_t end,
				   unsigned int block_shift)
{
	struct cbt_map *map = kzalloc(sizeof(*map), GFP_KERNEL);

	BUILD_BUG_ON(LEAF_LINES * sizeof(struct line) != PAGE_SIZE);
	BUILD_BUG_ON(NODE_SLOTS * sizeof(unsigned long) > PAGE_SIZE);
	/* A slot holds an epoch of 32 bits and a tag. */
	BUILD_BUG_ON(sizeof(unsigned long) != sizeof(u64));

	if (!map)
		return NULL;
	map->start = start;
	map->end = end;
	map->block_shift = block_shift;
	map->blocks = DIV_ROUND_UP_ULL(end - start, 1ull << block_shift);
	map->slots = DIV_ROUND_UP_ULL(map->blocks, NODE_BLOCKS);
	map->root = kvmalloc_array(map->slots, sizeof(*map->root), GFP_KERNEL);
	if (!map->root) {
		kfree(map);
		return NULL;
	}
	memset_l(map->root, slot_uniform(0), map->slots);
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

/*
 * map_piece_end() - where a piece of @sector to @end ends that does not take long to mark
 *
 * A whole part of the map, or what one slot of the root stands for.
 */
sector_t map_piece_end(const struct cbt_map *map, sector_t sector, sector_t end)
{
	u64 area;

	while (sector >= map->end && map->next)
		map = map->next;
	if (sector >= map->end || (sector == map->start && end >= map->end && !map->next))
		return end;
	if (sector == map->start && end >= map->end)
		return map->end;
	area = ((sector - map->start) >> map->block_shift) / NODE_BLOCKS + 1;
	return min(end, map->start + ((area * NODE_BLOCKS) << map->block_shift));
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
