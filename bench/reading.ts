// SPDX-License-Identifier: MIT
//
// How long it takes to read what changed.
import { open } from 'blkfilter';

import { grouped, program, sh, table } from './measure.js';

const DISK = '/dev/nullb0';
const BLOCK_SECTORS = 128;
const TIB = 2 ** 31;

interface Case {
  tebibytes: number;
  fraction: number;
  /** Blocks that changed side by side. */
  run: number;
}

const cases: Case[] = [
  { tebibytes: 16, fraction: 0.0001, run: 1 },
  { tebibytes: 16, fraction: 0.0001, run: 1024 },
  { tebibytes: 16, fraction: 0.01, run: 1 },
  { tebibytes: 16, fraction: 0.01, run: 1024 },
  { tebibytes: 16, fraction: 0.5, run: 1024 },
  // Marking 134 million blocks one by one would take the better part of an hour here.
  { tebibytes: 1, fraction: 0.5, run: 1 },
];

interface Reading {
  extents: number;
  sectors: number;
  seconds: number;
  user: number;
  system: number;
  memory: number;
}

const read = (way: string): Reading => JSON.parse(sh(`node ${program('reader.js')} ${DISK} 2 ${way}`)) as Reading;

const percent = (part: number): string => `${grouped(part * 100, part < 0.01 ? 2 : 0)} %`;

async function one({ tebibytes, fraction, run }: Case): Promise<string[]> {
  console.error(`bench: reading ${tebibytes} TiB, ${percent(fraction)}, runs of ${run}`);
  sh(`modprobe null_blk queue_mode=2 irqmode=0 memory_backed=0 gb=${tebibytes * 1024} nr_devices=1`);
  await using device = await open(DISK);
  const tracker = await device.attach('cbt');
  await tracker.checkpoint();
  const runs = Number(sh(`${program('mark')} ${DISK} ${(tebibytes * TIB) / BLOCK_SECTORS} ${BLOCK_SECTORS} ${fraction} ${run}`));
  const [iterator, batches, bitmap] = [read('iterator'), read('batches'), read('bitmap')];
  for (const { extents } of [iterator, batches]) {
    if (extents !== runs) throw new Error(`${extents} extents, and ${runs} were marked`);
  }
  const { memory } = await tracker.info();
  await tracker.detach();
  await device.close();
  sh('rmmod null_blk');
  const rate = ({ extents, seconds }: Reading): string => grouped(extents / seconds / 1e6, 2);
  return [
    `${tebibytes} TiB, ${percent(fraction)} changed, ${run === 1 ? 'scattered' : `in runs of ${grouped(run)} blocks`}`,
    grouped(runs),
    rate(batches),
    rate(iterator),
    `${grouped(batches.system, 2)} / ${grouped(batches.user, 2)}`,
    grouped(Math.max(batches.memory, iterator.memory) / 2 ** 20),
    grouped((bitmap.sectors * 512) / bitmap.seconds / 2 ** 30),
    grouped(memory / 2 ** 20, 1),
  ];
}

/** The whole chapter, in Markdown. */
export async function reading(): Promise<string> {
  sh('modprobe blkfilter_cbt');
  const rows: string[][] = [];
  for (const item of cases) rows.push(await one(item));
  const heads = [
    'extents', 'M extents/s, batches', 'M extents/s, one by one', 's in kernel / Node, batches', 'MiB of Node',
    'bitmap: GiB of device/s', 'MiB of map',
  ];
  return table(['', ...heads], rows);
}
