/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_CBT_MAP_H
#define BLKFILTER_CBT_MAP_H

#include <linux/blkdev.h>

struct cbt_map;

/**
 * struct cbt_run - the next sectors that changed, from where a reader asked on
 * @start: where they start
 * @end: where they end, and what lies beyond is still to be asked for. The same as
 *	@start when nothing changed up to there
 */
struct cbt_run {
	sector_t start;
	sector_t end;
};

struct cbt_map *map_create(sector_t sectors, unsigned int block_size);
void map_grow(struct cbt_map *map, sector_t sectors);
void map_free(struct cbt_map *map);

void map_mark(struct cbt_map *map, sector_t sector, sector_t count, u32 epoch);
struct cbt_run map_run(struct cbt_map *map, sector_t sector, u32 since);

sector_t map_area_end(const struct cbt_map *map, sector_t sector);
sector_t map_sectors(const struct cbt_map *map);
unsigned int map_block_shift(const struct cbt_map *map);
u64 map_memory(const struct cbt_map *map);
u64 map_overreported(const struct cbt_map *map);

#endif /* BLKFILTER_CBT_MAP_H */
