// SPDX-License-Identifier: MIT
// A map of heat for terminals. The height of a cell's bar tells when it last changed; its colour, where there are
// colours, how much of it did lately.
import { lineUp } from '../columns.js';
import { bandOf, hottestAreas } from './areas.js';
import type { HeatCell, HeatMap } from './heat.js';
import { HEAT, NEVER, areaCells, bandText, epochs, heightOf, remarks, size, summary, unchangedSectors } from './words.js';

const BARS = '▁▂▃▄▅▆▇█';
const NO_BAR = '·';
const COLORS = ['blue', 'cyan', 'green', 'yellow', 'red'] as const;
const AREAS = 5;

/** How {@link heatMapText} draws. */
export interface HeatTextOptions {
  /** The device's path, for the heading. */
  device: string;
  /** Cells in a line. */
  columns: number;
  /** Colours text, as `styleText` of `node:util` does. Without it there are no colours. */
  paint?: (style: (typeof COLORS)[number] | 'bold', text: string) => string;
}

type Paint = NonNullable<HeatTextOptions['paint']>;

/**
 * Draws a map as text: its cells, a legend and the hottest areas.
 * @param map as {@link heatMap} gives it
 * @returns lines; the last one has no end
 */
export function heatMapText(map: HeatMap, { device, columns, paint }: HeatTextOptions): string {
  const style: Paint = paint ?? ((_, text) => text);
  return [
    style('bold', `${device}: where and when it changed`),
    ...summary(map),
    ...remarks(map),
    '',
    ...picture(map, columns, style),
    '',
    ...legend(map, style, paint !== undefined),
    ...areas(map, style),
  ].join('\n');
}

/** How many cells fit beside the labels into a line of so many characters, for a device of so many sectors. */
export const fittingColumns = (width: number, sectors: number): number => Math.max(1, width - labelWidth(sectors) - 1);

const labelWidth = (end: number): number => String(end).length;

function picture(map: HeatMap, columns: number, style: Paint): string[] {
  const { cells } = map;
  const lines = Array.from({ length: Math.ceil(cells.length / columns) }, (_, i) =>
    cells.slice(i * columns, (i + 1) * columns),
  );
  const width = labelWidth(map.sector + map.count);
  const label = ([first]: HeatCell[]): string => String(first?.sector).padStart(width);
  return lines.map((line) => `${label(line)} ${bars(map, line, style)}`);
}

/** Neighbours of one colour are coloured at once. */
function bars(map: HeatMap, line: HeatCell[], style: Paint): string {
  let text = '';
  let run = '';
  line.forEach(({ level, heat }, i) => {
    run += barOf(map, level);
    const band = bandOf(heat);
    const next = line[i + 1];
    if (next && bandOf(next.heat) === band) return;
    const color = COLORS[band];
    text += color ? style(color, run) : run;
    run = '';
  });
  return text;
}

const barOf = (map: HeatMap, level: number | null): string =>
  level === null ? NO_BAR : BARS.charAt(Math.ceil(BARS.length * heightOf(map, level)) - 1);

function legend(map: HeatMap, style: Paint, colored: boolean): string[] {
  const never = unchangedSectors(map);
  const rows = map.levels.map(({ changedSectors }, level) => [epochs(map, level), changedSectors] as const);
  const bar = [...map.levels.keys(), null].map((level) => barOf(map, level));
  const lines = lineUp(
    ['  CELL LAST CHANGED IN', 'SECTORS THAT DID'],
    [...rows, [NEVER, never] as const].map(([when, sectors], i) => [`${bar[i] ?? ''} ${when}`, size(sectors)]),
    style,
  );
  const colors = COLORS.map((color, band) => style(color, `█ ${bandText(band)}`)).join('  ');
  return colored ? [...lines, '', `heat: ${colors}`] : lines;
}

function areas(map: HeatMap, style: Paint): string[] {
  const hottest = hottestAreas(map, AREAS);
  if (hottest.length === 0) return [];
  const rows = hottest.map((area) => areaCells(map, area));
  return ['', ...lineUp(['HOTTEST SECTORS', 'SIZE', 'HEAT', 'CHANGED', 'LAST CHANGED IN'], rows, style), '', HEAT];
}
