// SPDX-License-Identifier: MIT
// Where and when a device changed, as numbers. docs/map.md defines them; text.ts and html.ts draw them.
import { z } from 'zod';

import { BlkfilterError } from '../errors.js';
import type { CbtInfo, ChangesOptions, ChangeTracker } from '../filters/cbt.js';
import { markOf } from '../mark.js';
import { check, signal, whole } from '../options.js';
import { SECTOR_SIZE, type Extent } from '../units.js';

/** Levels that a map has at most: each is one reading of all changes. */
const LEVELS = 8;

const CELLS_MAX = 65536;

const mapOptions = z.strictObject({
  cells: z.int().min(1).max(CELLS_MAX, `more than ${CELLS_MAX}`).default(1024),
  sector: whole.default(0),
  count: z.int().positive().optional(),
  signal: signal.optional(),
});

/** What to map, and how finely. */
export interface HeatMapOptions {
  /** How many cells at most, 1 to 65,536; 1,024 unless told. */
  cells?: number;
  /** The first sector of interest; 0 unless told. */
  sector?: number;
  /** How many sectors; to the device's end unless told. What lies beyond it is left out. */
  count?: number;
  /** Stops reading: the call then rejects with its reason. */
  signal?: AbortSignal;
}

/** Some epochs that follow each other. */
export interface HeatLevel {
  /** The first of them … */
  since: number;
  /** … and the last. */
  until: number;
  /** Sectors of the map whose last change was in these epochs. */
  changedSectors: number;
}

/** A part of the device. All are of one size, but for the first and the last of a range. */
export interface HeatCell extends Extent {
  /** The index of the newest level in which any of it changed; null if none of it ever did. */
  level: number | null;
  /** For each level, how many sectors had their last change in it. */
  changed: number[];
  /**
   * How much of it changed lately, from 0 to 1: the share of its sectors that changed in level 0, half the share of
   * level 1, a quarter of that of level 2, and so on.
   */
  heat: number;
}

/** Where and when a device changed. */
export interface HeatMap extends Extent {
  /** When it was read: ISO 8601. */
  time: string;
  generation: string;
  /** Why the generation began, see `CbtInfo.gap`. Unless `attached`, all of the device counts as changed just then. */
  gap: string;
  /** Times that a whole area had to be recorded as changed, see `CbtInfo.overreported`. */
  overreported: number;
  /** The current epoch when reading began. */
  epoch: number;
  /** What changes are tracked in: sectors of a block. */
  blockSectors: number;
  /** Sectors of a cell: a multiple of a block's. */
  cellSectors: number;
  /** Newest first: the current epoch, then spans that grow, back to epoch 1. */
  levels: HeatLevel[];
  /** In ascending order; together they are the range. */
  cells: HeatCell[];
}

/**
 * Maps where and when a device changed. The changes are read once for each level, at most eight times, in memory that
 * depends on the number of cells alone. What changes meanwhile may appear older than it is, never older than it was.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` an option is wrong, or the range begins beyond the device's end;
 *   `EGENERATION` tracking had a gap meanwhile; `ENOENT` cbt is not attached; `ENODEV`; and the signal's reason
 */
export async function heatMap(tracker: ChangeTracker, options: HeatMapOptions = {}): Promise<HeatMap> {
  const { cells, signal, ...range } = check(mapOptions, options, 'map');
  const time = new Date().toISOString();
  const info = await tracker.info();
  const grid = gridOf(info, range, cells);

  const starts = levelStarts(info.epoch);
  const sums: Float64Array[] = [];
  // Newest first: a sector that changes between two readings is then found by all that follow, and no sum shrinks.
  for (const since of starts) {
    const { sector, count } = grid;
    const mark = markOf({ generation: info.generation, epoch: since });
    const read = { since: mark, sector, count, ...(signal && { signal }) };
    sums.push(await sumChanges(tracker, grid, read));
  }
  const { epoch: last, overreported } = await tracker.info();

  const { generation, gap, epoch } = info;
  const made = cellsOf(grid, sums);
  const levels = starts.map((since, level) => ({
    since,
    until: level === 0 ? Math.max(last, since) : (starts[level - 1] ?? 0) - 1,
    changedSectors: made.reduce((sum, { changed }) => sum + (changed[level] ?? 0), 0),
  }));
  const { sector, count, blockSectors, cellSectors } = grid;
  return {
    time, generation, gap, overreported, epoch, sector, count, blockSectors, cellSectors, levels, cells: made,
  };
}

/** A range, and how it is cut: from its origin, the start of a block, every `cellSectors`. */
interface Grid extends Extent {
  origin: number;
  blockSectors: number;
  cellSectors: number;
}

interface Range {
  sector: number;
  count?: number | undefined;
}

function gridOf({ sectors, blockSize }: CbtInfo, { sector, ...range }: Range, cells: number): Grid {
  if (sector >= sectors) {
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ARGUMENT',
      reason: `sector ${sector} is beyond the device, which has ${sectors}`,
      hint: '`blkfilter status` shows how many sectors the device has',
    });
  }
  const count = Math.min(sectors - sector, range.count ?? Infinity);
  const blockSectors = blockSize / SECTOR_SIZE;
  const origin = sector - (sector % blockSectors);
  const blocks = Math.ceil((sector + count - origin) / blockSectors);
  return { sector, count, origin, blockSectors, cellSectors: Math.ceil(blocks / cells) * blockSectors };
}

/**
 * The first epoch of each level: the current one, then the last 2, 4, 8 …, and 1. Where that makes too many levels, the
 * steps are longer: the next power of two with which it does not.
 */
function levelStarts(epoch: number): number[] {
  const steps = LEVELS - 1;
  const step = 2 ** Math.max(1, Math.ceil(Math.log2(epoch) / steps));
  const ages = Array.from({ length: steps }, (_, i) => step ** i).filter((age) => age < epoch);
  return [...ages, epoch].map((age) => epoch - age + 1);
}

/** Sectors of each cell that changed in an epoch or later. */
async function sumChanges(tracker: ChangeTracker, grid: Grid, read: ChangesOptions): Promise<Float64Array> {
  const { origin, cellSectors } = grid;
  const sums = new Float64Array(Math.ceil((grid.sector + grid.count - origin) / cellSectors));
  try {
    for await (const { extents } of tracker.changes(read).batches()) {
      for (const { sector, count } of extents) {
        const end = sector + count;
        for (let cell = Math.floor((sector - origin) / cellSectors); origin + cell * cellSectors < end; cell++) {
          const from = Math.max(sector, origin + cell * cellSectors);
          sums[cell] = (sums[cell] ?? 0) + Math.min(end, origin + (cell + 1) * cellSectors) - from;
        }
      }
    }
  } catch (error) {
    if (!(error instanceof BlkfilterError) || error.code !== 'EGENERATION') throw error;
    throw error.reworded({ reason: 'tracking had a gap while the map was read', hint: 'map it again' });
  }
  return sums;
}

/** @param sums for each level, the sectors of each cell that changed in it or in a newer one */
function cellsOf({ sector, count, origin, cellSectors }: Grid, sums: Float64Array[]): HeatCell[] {
  return Array.from(sums[0] ?? [], (_, cell) => {
    const first = Math.max(sector, origin + cell * cellSectors);
    const size = Math.min(sector + count, origin + (cell + 1) * cellSectors) - first;
    let known = 0;
    const changed = sums.map((sum) => {
      // A device that shrinks meanwhile takes changes away.
      const more = Math.max(0, (sum[cell] ?? 0) - known);
      known += more;
      return more;
    });
    const newest = changed.findIndex((sectors) => sectors > 0);
    const weighed = changed.reduce((sum, sectors, level) => sum + sectors / 2 ** level, 0);
    return { sector: first, count: size, level: newest < 0 ? null : newest, changed, heat: weighed / size };
  });
}
