// SPDX-License-Identifier: MIT
//
// What one request of 4 KiB costs above the bare device, with each filter and with what else there is. The disk is one
// of null_blk, which does nothing at all: what is left is the way of a request through the kernel.
import { setTimeout as sleep } from 'node:timers/promises';

import { open } from 'blkfilter';

import { allOf, attachTo, BENCH, dm, guardRules, running, type End } from './beside.js';
import { figureOf, grouped, program, sh, table, type Figure } from './measure.js';

const DISK = '/dev/nullb0';
const OTHERS = Array.from({ length: 64 }, (_, i) => `/dev/nullb${i + 1}`);
const SEEDS = [1, 2, 3];

/** The columns: the kind of request, and how many are in flight. */
const LOADS = [
  ['write', 1],
  ['write', 32],
  ['read', 1],
  ['read', 32],
] as const;

const BLOCK = 64 * 1024;

interface Row {
  title: string;
  /** What anybody can do by hand. */
  how: string;
  /** Makes it so, and gives what undoes that. */
  begin: () => Promise<() => unknown>;
  /** Where the requests go, where that is not the disk itself. */
  device?: string;
  /** Each write goes to a block of its own, and is the first to it since this was called. */
  first?: () => unknown;
}

async function checkpoint(): Promise<void> {
  await using device = await open(DISK);
  await (await device.filter('cbt')).checkpoint();
}

const era = dm(`era /dev/ram0 ${DISK} ${BLOCK / 512}`);
const eraBegins = async (): Promise<() => unknown> => {
  sh('dd if=/dev/zero of=/dev/ram0 bs=1M count=1 status=none');
  return era();
};

/** Requests that a driver above has sent on are seen, from which moment on a second hook is there while a filter is. */
const heldBack = (device: string) => async (): Promise<End> => {
  const end = await attachTo(device)('cbt');
  const remove = await dm(`linear ${device} 0`)();
  sh(`dd if=/dev/zero of=${BENCH} bs=4096 count=8 oflag=direct status=none`);
  remove();
  // The hook takes its time.
  await sleep(3000);
  return end;
};

const attach = attachTo(DISK);

const rows: Row[] = [
  {
    title: 'modules loaded, nothing attached',
    how: 'modprobe blkfilter_cbt',
    begin: () => Promise.resolve(() => undefined),
  },
  {
    title: 'another device attached',
    how: 'blkfilter attach /dev/nullb1 cbt',
    begin: () => attachTo('/dev/nullb1')('cbt'),
  },
  {
    title: '64 other devices attached',
    how: 'the same for nullb1 to nullb64',
    begin: () => attachTo(...OTHERS)('cbt'),
  },
  {
    title: '**cbt, block marked already**',
    how: 'blkfilter attach /dev/nullb0 cbt; all blocks were written before',
    begin: () => attach('cbt'),
  },
  {
    title: 'cbt, first write to the block in the epoch',
    how: 'blkfilter checkpoint /dev/nullb0, then one write into each block of 1 GiB',
    begin: () => attach('cbt'),
    first: checkpoint,
  },
  {
    title: 'trace, nobody reads',
    how: 'blkfilter attach /dev/nullb0 trace',
    begin: () => attach('trace'),
  },
  {
    title: 'trace, with a reader (which the figure includes)',
    how: 'for await (const batch of trace.batches()) …',
    begin: () => allOf(() => attach('trace'), () => running('node', program('tracer.js'), DISK)),
  },
  {
    title: 'guard, 1 rule',
    how: 'blkfilter guard /dev/nullb0 --deny write:134217727',
    begin: () => attach('guard', { rules: guardRules(1) }),
  },
  {
    title: 'guard, 100 rules',
    how: '100 of them',
    begin: () => attach('guard', { rules: guardRules(100) }),
  },
  {
    title: 'cbt, trace that nobody reads, and guard with 1 rule',
    how: 'all three',
    begin: () => allOf(() => attach('cbt'), () => attach('trace'), () => attach('guard', { rules: guardRules(1) })),
  },
  {
    title: 'dm-linear on top',
    how: `dmsetup create bench --table '0 N linear /dev/nullb0 0'`,
    begin: dm(`linear ${DISK} 0`),
    device: BENCH,
  },
  {
    title: 'dm-era on top, block written already in the era',
    how: `dmsetup create bench --table '0 N era /dev/ram0 /dev/nullb0 128'`,
    begin: eraBegins,
    device: BENCH,
  },
  {
    title: 'dm-era on top, first write to the block in the era',
    how: 'dmsetup message bench 0 checkpoint, then one write into each block of 1 GiB',
    begin: eraBegins,
    device: BENCH,
    first: () => sh('dmsetup message bench 0 checkpoint; sleep 1'),
  },
  {
    title: 'blktrace',
    how: 'blktrace -d /dev/nullb0 -o -',
    begin: () => running('blktrace', '-d', DISK, '-o', '-'),
  },
  {
    title: 'bpftrace, a counter',
    how: `bpftrace -e 'tracepoint:block:block_bio_queue { @ = count(); }'`,
    begin: () => running('bpftrace', '-e', 'tracepoint:block:block_bio_queue { @ = count(); }'),
  },
  {
    title: 'bpftrace, a map of changed blocks',
    how: `bpftrace -e 'kfunc:submit_bio_noacct { @[args->bio->bi_iter.bi_sector >> 7] = 1; }'`,
    begin: () => running('bpftrace', '-e', 'kfunc:submit_bio_noacct { @[args->bio->bi_iter.bi_sector >> 7] = 1; }'),
  },
  // From here on for as long as the modules are loaded.
  {
    title: 'another device attached, after a device-mapper target on it was written to',
    how: 'blkfilter attach /dev/nullb1 cbt; dmsetup create bench …; dd of=/dev/mapper/bench …',
    begin: heldBack('/dev/nullb1'),
  },
  {
    title: 'cbt, block marked already, likewise',
    how: 'the same with nullb0',
    begin: heldBack(DISK),
  },
];

async function measure(device: string, first: Row['first']): Promise<(Figure | undefined)[]> {
  const figures: (Figure | undefined)[] = [];
  for (const [kind, depth] of LOADS) {
    if (first && kind === 'read') {
      figures.push(undefined);
      continue;
    }
    const count = first ? 2 ** 14 : 20_000 + (20_000 % depth);
    const command = [program('io'), device, kind, depth, count].join(' ');
    // The caches, and all that is done once for each block.
    if (!first) sh(`${program('io')} ${device} write 1 ${2 ** 14} 7 ${BLOCK}; ${command} 9`);
    const values: number[] = [];
    for (const seed of SEEDS) {
      await first?.();
      values.push(Number(sh(`${command} ${seed} ${first ? BLOCK : ''}`)));
    }
    figures.push(figureOf(values));
  }
  return figures;
}

/** The whole chapter, in Markdown. */
export async function requests(): Promise<string> {
  sh('modprobe null_blk queue_mode=2 irqmode=0 memory_backed=0 gb=64 submit_queues=1 nr_devices=65; modprobe brd rd_nr=1 rd_size=65536; modprobe -a dm-mod dm-era');
  const bare = await measure(DISK, undefined);
  sh('modprobe -a blkfilter_cbt blkfilter_trace blkfilter_guard');
  const lines: string[][] = [['bare device (absolute)', ...bare.map((figure) => grouped(figure?.median ?? NaN)), 'io /dev/nullb0']];
  for (const { title, how, begin, device = DISK, first } of rows) {
    console.error(`bench: ${title}`);
    const end = await begin();
    const figures = await measure(device, first).finally(end);
    const cells = figures.map((figure, i) => {
      if (!figure) return '';
      const above = figure.median - (bare[i]?.median ?? NaN);
      return `${above >= 0 ? '+' : '−'}${grouped(Math.abs(above))} ±${grouped(figure.spread / 2)}`;
    });
    lines.push([title, ...cells, `\`${how}\``]);
  }
  sh('rmmod null_blk brd');
  const heads = LOADS.map(([kind, depth]) => `${kind}, QD${depth}`);
  return table(['', ...heads, 'how'], lines);
}
