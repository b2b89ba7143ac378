// SPDX-License-Identifier: MIT
// A map of heat as a page of its own: nothing in it is fetched from anywhere.
import { formatRange } from '../units.js';
import { BANDS, bandOf, hottestAreas } from './areas.js';
import type { HeatCell, HeatMap } from './heat.js';
import {
  HEAT, NEVER, areaCells, bandText, epochs, heightOf, percent, remarks, size, summary, unchangedSectors,
} from './words.js';

const AREAS = 10;

// Of a cell, in the picture's own units.
const WIDTH = 12;
const HEIGHT = 24;

/** How {@link heatMapHtml} draws. */
export interface HeatHtmlOptions {
  /** The device's path, for the heading. */
  device: string;
  /** Cells in a line. */
  columns: number;
}

/**
 * Draws a map as one HTML page: its cells, a legend and the hottest areas.
 * @param map as {@link heatMap} gives it
 */
export function heatMapHtml(map: HeatMap, { device, columns }: HeatHtmlOptions): string {
  const title = escape(`${device}: where and when it changed`);
  const paragraphs = [...summary(map), ...remarks(map)].map((text) => `<p>${escape(text)}</p>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${title}</h1>
${paragraphs.join('\n')}
${picture(map, columns)}
${legend(map)}
${areas(map)}
</body>
</html>
`;
}

// Each band differs from its neighbours in lightness too, in both schemes.
const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --cell: #ececec;
  --heat0: #f2c07a; --heat1: #e8953d; --heat2: #d5611f; --heat3: #ab2c1c; --heat4: #66101f; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #151515; --ink: #e8e8e8; --cell: #2b2b2b;
    --heat0: #6d3218; --heat1: #a1481b; --heat2: #d36a1f; --heat3: #f0a03c; --heat4: #ffe08a; }
}
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 2rem 0; }
caption { font-weight: bold; text-align: start; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: start; font-variant-numeric: tabular-nums; }
tbody th { font-weight: normal; }
svg.map { width: 100%; height: auto; }
svg.sample { width: 0.75rem; height: 1.5rem; vertical-align: middle; }
.cell { fill: var(--cell); }
${BANDS.map((_, band) => `.heat${band} { fill: var(--heat${band}); }`).join('\n')}
.any { fill: var(--ink); }
`;

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text: string): string => text.replace(/[&<>"']/g, (sign) => ESCAPES[sign] ?? sign);

function picture(map: HeatMap, columns: number): string {
  const width = WIDTH * Math.min(columns, map.cells.length);
  const height = HEIGHT * Math.ceil(map.cells.length / columns);
  const cells = map.cells.map((cell, i) => {
    const x = WIDTH * (i % columns);
    const y = HEIGHT * Math.floor(i / columns);
    return `<g><title>${escape(told(map, cell))}</title>${box(map, cell.level, `heat${bandOf(cell.heat)}`, x, y)}</g>`;
  });
  return `<svg class="map" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="what">
<title id="what">Map of the sectors, the first at the top left; its legend and the hottest areas follow as tables</title>
${cells.join('\n')}
</svg>`;
}

/** A cell, and in it a bar: the newer the level the higher. */
function box(map: HeatMap, level: number | null, fill: string, x: number, y: number): string {
  const at = (height: number): string =>
    `x="${x}" y="${y + HEIGHT - 1 - height}" width="${WIDTH - 1}" height="${height}"`;
  const cell = `<rect class="cell" ${at(HEIGHT - 1)} />`;
  if (level === null) return cell;
  return `${cell}<rect class="${fill}" ${at(Math.round((HEIGHT - 1) * heightOf(map, level)))} />`;
}

/** What a cell's tooltip says. */
function told(map: HeatMap, cell: HeatCell): string {
  const where = `sectors ${formatRange(cell)}, ${size(cell.count)}`;
  if (cell.level === null) return `${where}: ${NEVER}`;
  const parts = cell.changed.flatMap((sectors, level) =>
    sectors > 0 ? [`${percent(sectors / cell.count)} in ${epochs(map, level)}`] : [],
  );
  return `${where}: ${parts.join(', ')}; heat ${percent(cell.heat)}`;
}

const sample = (inside: string): string =>
  `<svg class="sample" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true">${inside}</svg>`;

function legend(map: HeatMap): string {
  const never = unchangedSectors(map);
  const known = map.levels.map(({ changedSectors }, level) => [level, changedSectors] as const);
  const bars = [...known, [null, never] as const].map(([level, sectors]) => [
    `${sample(box(map, level, 'any', 0, 0))} ${escape(epochs(map, level))}`,
    escape(`${size(sectors)}, ${percent(sectors / map.count)}`),
  ]);
  const heats = BANDS.map((_, band) => [`${sample(box(map, 0, `heat${band}`, 0, 0))} ${escape(bandText(band))}`]);
  return `${table('The height of a bar: when', ['Cell last changed in', 'Sectors that did'], bars)}
${table('The colour of a bar: how hot', ['Heat'], heats)}
<p>${escape(HEAT)}</p>`;
}

function areas(map: HeatMap): string {
  const rows = hottestAreas(map, AREAS).map((area) => areaCells(map, area).map(escape));
  if (rows.length === 0) return '<p>Nothing changed.</p>';
  return table('The hottest areas', ['Sectors', 'Size', 'Heat', 'Changed', 'Last changed in'], rows);
}

/** @param rows of HTML, the first cell of each its heading */
function table(caption: string, head: string[], rows: string[][]): string {
  const body = rows.map(([first = '', ...rest]) =>
    `<tr><th scope="row">${first}</th>${rest.map((cell) => `<td>${cell}</td>`).join('')}</tr>`,
  );
  return `<table>
<caption>${escape(caption)}</caption>
<thead><tr>${head.map((title) => `<th scope="col">${escape(title)}</th>`).join('')}</tr></thead>
<tbody>
${body.join('\n')}
</tbody>
</table>`;
}
