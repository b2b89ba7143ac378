// SPDX-License-Identifier: MIT
// What the drawings of a map say, in text and in HTML.
import { gapReasons } from '../filters/cbt.js';
import { SECTOR_SIZE, formatRange, formatSize } from '../units.js';
import { BANDS } from './areas.js';
import type { HeatCell, HeatMap } from './heat.js';

export const size = (sectors: number): string => formatSize(sectors * SECTOR_SIZE);

/** A share of something, rounded down: 100 % is all of it, and 0 % is nothing. */
export function percent(share: number): string {
  // 0.57 * 1000 is a little less than 570.
  const tenths = Math.floor(share * 1000 + 1e-9) / 10;
  return share > 0 && tenths === 0 ? 'under 0.1 %' : `${tenths} %`;
}

export const NEVER = 'never since cbt was attached';

/** The epochs of a level. */
export function epochs({ levels }: HeatMap, level: number | null): string {
  const { since, until } = (level === null ? undefined : levels[level]) ?? { since: 0, until: 0 };
  if (since === 0) return NEVER;
  const span = since === until ? `epoch ${since}` : `epochs ${since} to ${until}`;
  if (level === 0) return `${span} (now)`;
  return since === 1 ? `${span} (since cbt was attached)` : span;
}

/** All that changed in a cell or area, whenever that was. */
const changedIn = ({ changed }: HeatCell): number => changed.reduce((sum, sectors) => sum + sectors, 0);

/** What a row about an area says: where it is, its size, its heat, how much of it changed, when it last did. */
export const areaCells = (map: HeatMap, area: HeatCell): string[] => [
  formatRange(area),
  size(area.count),
  percent(area.heat),
  percent(changedIn(area) / area.count),
  epochs(map, area.level),
];

/** Sectors that never changed. */
export const unchangedSectors = ({ count, levels }: HeatMap): number =>
  count - levels.reduce((sum, { changedSectors }) => sum + changedSectors, 0);

/** A band of heat: `1 % to 10 %`. */
export function bandText(band: number): string {
  const bound = (i: number): string => percent(BANDS[i] ?? 1);
  return band === 0 ? `under ${bound(1)}` : `${bound(band)} to ${bound(band + 1)}`;
}

export const HEAT = 'Heat: the share that changed; each line of epochs counts half of the one before.';

/** How high the bar of a level is, of 1: the newer the higher. */
export const heightOf = ({ levels }: HeatMap, level: number): number => (levels.length - level) / levels.length;

/** What the map is of, in lines that a terminal is wide enough for. */
export function summary({ sector, count, cellSectors, blockSectors, epoch, generation, time }: HeatMap): string[] {
  const last = sector + count - 1;
  return [
    `sectors ${sector} to ${last} (${size(count)}), a cell for each ${size(cellSectors)}, in blocks of ${size(blockSectors)}`,
    `epoch ${epoch} of generation ${generation}`,
    `read ${time}`,
  ];
}

/** Why the map may show more than changed. */
export function remarks({ gap, overreported }: HeatMap): string[] {
  const all: string[] = [];
  if (gap !== 'attached') {
    all.push(`all counts as changed in the epoch in which this generation began, because ${gapReasons[gap] ?? gap}`);
  }
  if (overreported > 0) all.push(`whole areas were recorded as changed ${overreported} times, for want of memory`);
  return all;
}
