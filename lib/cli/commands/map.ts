// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { fittingColumns, heatMap, heatMapHtml, heatMapText, open, parseRange } from '../../index.js';
import { replaceFile } from '../../files.js';
import { example } from '../example.js';
import { answer, colorful, paint, type OutputOptions } from '../output.js';

/** Cells in a line of what no terminal shows. */
const COLUMNS = 64;

interface MapFlags extends OutputOptions {
  range?: ReturnType<typeof parseRange>;
  columns?: number;
  rows: number;
  html?: string;
}

/** A terminal's width; some do not know theirs. */
const width = (): number => process.stdout.columns || 80;

async function map(path: string, { range, rows, html, json, ...flags }: MapFlags): Promise<void> {
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const drawn = json === undefined && html === undefined;
    const columns = flags.columns ?? (drawn ? fittingColumns(width(), await device.sectors()) : COLUMNS);
    const map = await heatMap(tracker, { cells: columns * rows, ...range });
    if (html !== undefined) {
      const page = heatMapHtml(map, { device: path, columns });
      await replaceFile(html, (file) => file.writeFile(page), 0o644);
    }
    await answer({ ...(json && { json }) }, { device: path, ...map }, () =>
      html === undefined
        ? heatMapText(map, { device: path, columns, ...(colorful() && { paint }) })
        : `the map of ${path} is in ${html}`,
    );
  } finally {
    await device.close();
  }
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('It is a number from 1 to 9999.');
  return Number(text);
}

export function addMap(program: Command): void {
  const command = program
    .command('map DEV')
    .description('draw where and when a device changed')
    .option('--range <sectors>', 'only these sectors, such as 0-2047', parseRange)
    .option('--columns <n>', "cells in a line; as many as fit unless told, 64 with --html or --json", parseCount)
    .option('--rows <n>', 'lines of cells, at most', parseCount, 16)
    .option('--html <file>', 'write the map to a file, as a page for browsers')
    .option('--json', 'print JSON')
    .action(map);
  example(command, 'blkfilter map /dev/sdb --html map.html');
}
