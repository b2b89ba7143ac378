/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_CBT_MAP_H
#define BLKFILTER_CBT_MAP_H

#include <linux/blkdev.h>

struct cbt_map;
struct line;

/* Runs that are read at a time. */
#define CBT_RUNS	64

/**
 * struct cbt_run - sectors that changed
 * @start: where they start
 * @end: where they end, up to which the reader has come. The same as @start when nothing
 *	changed up to there
 */
struct cbt_run {
	sector_t start;
	sector_t end;
};

/**
 * struct cbt_reader - how far somebody has read a map
 * @map: the part of it that is being read
 * @from: the sector that it began at
 * @since: the epoch that is asked about
 * @changed: the cells of the line before @line that changed and were not told yet
 * @line: the next line of a leaf, up to @lines_end
 * @lines_end: the same when no leaf is being read
 * @block: of @map: the one after that leaf, where to go on
 */
struct cbt_reader {
	struct cbt_map *map;
	sector_t from;
	u32 since;
	u32 changed;
	const struct line *line;
	const struct line *lines_end;
	u64 block;
};

struct cbt_map *map_create(sector_t sectors, unsigned int block_size);
void map_grow(struct cbt_map *map, sector_t sectors);
void map_free(struct cbt_map *map);

void map_mark(struct cbt_map *map, sector_t sector, sector_t count, u32 epoch);
struct cbt_reader map_read(struct cbt_map *map, sector_t sector, u32 since);
unsigned int map_next(struct cbt_reader *r, struct cbt_run *runs);

sector_t map_piece_end(const struct cbt_map *map, sector_t sector, sector_t end);
sector_t map_sectors(const struct cbt_map *map);
unsigned int map_block_shift(const struct cbt_map *map);
u64 map_memory(const struct cbt_map *map);
u64 map_overreported(const struct cbt_map *map);

#endif /* BLKFILTER_CBT_MAP_H */
