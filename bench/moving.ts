// SPDX-License-Identifier: MIT
//
// What it takes to bring a copy of a disk up to date of which 1 % has changed.
import { open, sync } from 'blkfilter';

import { figureOf, grouped, sh, table } from './measure.js';

const SOURCE = '/dev/nullb0';
const TARGET = '/dev/nullb1';
const BLOCK = 64 * 1024;
const RUNS = 3;

/** Blocks that are 1 % of so many GiB. */
const part = (gib: number): number => Math.round((gib * 2 ** 30) / BLOCK / 100);

/** A disk in memory, which keeps only what is written to it. */
const disk = (name: string, gib: number): string => `cd /sys/kernel/config/nullb; mkdir ${name}; cd ${name}
  echo ${gib * 1024} > size; echo 1 > memory_backed; echo 1 > power`;

let seed = 0;

/** Writes other data to 1 % of the blocks, at random places. */
const change = (gib: number): string =>
  sh(`fio --name=change --filename=${SOURCE} --direct=1 --rw=randwrite --bs=${BLOCK} --io_size=${part(gib) * BLOCK} \
    --randseed=${++seed} --refill_buffers=1 --output=/dev/null`);

async function seconds(what: () => unknown): Promise<number> {
  const begin = performance.now();
  await what();
  return (performance.now() - begin) / 1000;
}

interface Way {
  title: string;
  run: (gib: number) => unknown;
}

/** These are measured on a disk of twice the size, too: what is fixed in their time weighs half as much there. */
const least: Way[] = [
  {
    title: `\`dd\` of as much, in one piece: no program can do with less`,
    run: (gib) =>
      sh(`dd if=${SOURCE} of=${TARGET} bs=${BLOCK} count=${part(gib)} iflag=direct oflag=direct conv=notrunc status=none`),
  },
  { title: '`sync()` of this package', run: () => sync(SOURCE, TARGET) },
];

const ways: Way[] = [
  ...least,
  { title: '`blkfilter sync`, with the time that Node takes to start', run: () => sh(`blkfilter sync ${SOURCE} ${TARGET}`) },
  {
    title: '`dd` of the whole disk',
    run: () => sh(`dd if=${SOURCE} of=${TARGET} bs=1M iflag=direct oflag=direct conv=notrunc status=none`),
  },
  {
    title: '`rsync --inplace --no-whole-file`',
    run: () => sh(`rsync --inplace --no-whole-file --copy-devices --write-devices ${SOURCE} ${TARGET}`),
  },
];

/** The whole chapter, in Markdown. */
export async function moving(): Promise<string> {
  sh(`modprobe blkfilter_cbt; modprobe null_blk nr_devices=0; mkdir -p /run/blkfilter`);
  const tables = [await measured(2, ways), await measured(4, least)];
  sh('rmmod null_blk');
  return tables.join('\n');
}

async function measured(gib: number, compared: Way[]): Promise<string> {
  for (const name of ['nullb0', 'nullb1']) sh(disk(name, gib));
  sh(`dd if=/dev/urandom of=${SOURCE} bs=1M count=64 oflag=direct status=none`);
  await sync(SOURCE, TARGET);
  const rows: string[][] = [];
  let shortest: number | undefined;
  for (const { title, run } of compared) {
    console.error(`bench: moving ${gib} GiB, ${title}`);
    const values: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      // What another way has copied, this package need not know of.
      await sync(SOURCE, TARGET);
      change(gib);
      values.push(await seconds(() => run(gib)));
    }
    // The first way copies as much, but something else.
    if (rows.length > 0) sh(`cmp ${SOURCE} ${TARGET}`);
    const { median, spread } = figureOf(values);
    shortest ??= median;
    rows.push([title, grouped(median, 3), grouped(spread, 3), grouped(median / shortest, 1)]);
  }
  await using device = await open(SOURCE);
  await device.detach('cbt');
  await device.close();
  sh('cd /sys/kernel/config/nullb; rmdir nullb0 nullb1');
  return table([`${gib} GiB, 1 % of the blocks of 64 KiB changed`, 's', 'spread', 'times the first'], rows);
}
