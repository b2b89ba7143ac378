// SPDX-License-Identifier: MIT
import type { HeatCell, HeatMap } from './heat.js';

/** The heat above which each band begins; a cell without any is in none. */
export const BANDS = [0, 0.01, 0.1, 0.25, 0.5] as const;

/** The index of the band of a heat in {@link BANDS}; -1 for none. */
export const bandOf = (heat: number): number => (heat > 0 ? BANDS.findLastIndex((above) => heat >= above) : -1);

const join = (a: HeatCell, b: HeatCell): HeatCell => ({
  sector: a.sector,
  count: a.count + b.count,
  level: a.level === null || b.level === null ? (a.level ?? b.level) : Math.min(a.level, b.level),
  changed: a.changed.map((sectors, level) => sectors + (b.changed[level] ?? 0)),
  heat: (a.heat * a.count + b.heat * b.count) / (a.count + b.count),
});

/**
 * The hottest areas, the hottest first. Neighbouring cells in the same band of heat are one area; its heat is that of a
 * cell of its size.
 * @param limit how many at most
 */
export function hottestAreas({ cells }: HeatMap, limit: number): HeatCell[] {
  const areas: HeatCell[] = [];
  let band = -1;
  for (const cell of cells) {
    const before = areas.at(-1);
    if (before && bandOf(cell.heat) === band) areas[areas.length - 1] = join(before, cell);
    else areas.push(cell);
    band = bandOf(cell.heat);
  }
  return areas
    .filter(({ heat }) => heat > 0)
    .sort((a, b) => b.heat - a.heat || a.sector - b.sector)
    .slice(0, limit);
}
