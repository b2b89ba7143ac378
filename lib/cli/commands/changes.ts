// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import {
  SECTOR_SIZE,
  formatRange,
  formatSize,
  open,
  parseRange,
  type Changes,
  type ChangesBatch,
  type ExtentList,
  type Mark,
} from '../../index.js';
import { example } from '../example.js';
import { write, type OutputOptions } from '../output.js';
import { addSince, refuseSince, sinceOf, type SinceFlags } from '../since.js';

interface ChangesFlags extends SinceFlags, OutputOptions {
  since: string;
  range?: ReturnType<typeof parseRange>;
}

interface Header {
  device: string;
  since: Mark | number;
  blockSectors: number;
}

/** Prints a part of the extents, however many there are in all, and hands on the sum of their sectors. */
interface Printer {
  begin(batch: ChangesBatch): string;
  extents(extents: ExtentList, first: boolean): string;
  end(changedSectors: number): string;
}

function jsonPrinter(header: Header): Printer {
  return {
    // One document, written in parts: its last bracket is left open for the extents.
    begin: ({ generation, epoch }) =>
      `${JSON.stringify({ ...header, generation, epoch }).slice(0, -1)},"extents":[`,
    extents: (extents, first) => (first ? '' : ',') + Array.from(extents, (extent) => JSON.stringify(extent)).join(','),
    end: (changedSectors) => `],"changedSectors":${changedSectors}}\n`,
  };
}

function textPrinter({ device, since, blockSectors }: Header): Printer {
  return {
    begin: ({ generation, epoch }) =>
      `${device}: changes since ${since}; now epoch ${epoch} of generation ${generation}; ` +
      `blocks of ${formatSize(blockSectors * SECTOR_SIZE)}\n${'SECTORS'.padEnd(32)}SIZE\n`,
    extents: (extents) =>
      Array.from(extents, (one) => `${formatRange(one).padEnd(32)}${formatSize(one.count * SECTOR_SIZE)}\n`).join(''),
    end: (changedSectors) => `${formatSize(changedSectors * SECTOR_SIZE)} changed\n`,
  };
}

async function print(changes: Changes, printer: Printer): Promise<void> {
  let begun = false;
  let changedSectors = 0;
  for await (const batch of changes.batches()) {
    if (!begun) await write(printer.begin(batch));
    begun = true;
    if (batch.extents.length === 0) continue;
    await write(printer.extents(batch.extents, changedSectors === 0));
    for (const { count } of batch.extents) changedSectors += count;
  }
  await write(printer.end(changedSectors));
}

async function changes(path: string, { range, json, ...flags }: ChangesFlags): Promise<void> {
  refuseSince(flags);
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const { blockSize } = await tracker.info();
    const start = await sinceOf(tracker, flags.since);
    const header = { device: path, since: start.since, blockSectors: blockSize / SECTOR_SIZE };
    await print(tracker.changes({ ...start, ...range }), json ? jsonPrinter(header) : textPrinter(header));
  } finally {
    await device.close();
  }
}

export function addChanges(program: Command): void {
  const command = addSince(program.command('changes DEV'), { mandatory: true })
    .description('show which sectors changed')
    .option('--range <sectors>', 'only these sectors, such as 0-2047', parseRange)
    .option('--json', 'print JSON')
    .action(changes);
  example(command, 'blkfilter changes /dev/sdb --since nightly --range 0-2047');
}
