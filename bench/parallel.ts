// SPDX-License-Identifier: MIT
//
// What several CPUs cost each other. The emulator runs one of them at a time, so contention takes no time in it; but its
// plugin (bench/host/stores.c) tells which cache lines more than one of them stores into, by which they would contend.
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { attachTo, BENCH, dm, guardRules } from './beside.js';
import { figureOf, grouped, program, sh, table, unhooked } from './measure.js';

const DISK = '/dev/nullb0';
const COUNT = 10_000;
const RUNS = 3;
const CPUS = [1, 2, 4];
/** Blocks of cbt in what the jobs write to. */
const BLOCKS = 2 ** 14;

interface Cost {
  /** Of one request. */
  instructions: number;
  /** Cache lines that it stores into, and those on other CPUs too: of each second one at least, or it is the clock's. */
  lines: number;
}

interface Row {
  title: string;
  begin: () => Promise<() => unknown>;
  device?: string;
}

const attach = attachTo(DISK);

const rows: Row[] = [
  { title: 'modules loaded, nothing attached', begin: () => Promise.resolve(() => undefined) },
  { title: 'another device attached', begin: () => attachTo('/dev/nullb1')('cbt') },
  { title: '**cbt, block marked already**', begin: () => attach('cbt') },
  { title: 'trace, nobody reads', begin: () => attach('trace') },
  { title: 'guard, 1 rule', begin: () => attach('guard', { rules: guardRules(1) }) },
  { title: 'dm-linear on top', begin: dm(`linear ${DISK} 0`), device: BENCH },
];

let runs = 0;

/** So many jobs on as many CPUs. The plugin numbers its results, which lie in `folder`. */
async function work(folder: string, jobs: number, device: string): Promise<Cost> {
  sh(`${program('jobs')} ${jobs} ${program('io')} ${device} write 1 ${COUNT}`);
  const result = `${folder}/${++runs}`;
  while (!existsSync(result)) await sleep(100);
  const [instructions = NaN, ...stores] = readFileSync(result, 'utf8').trim().split('\n').map(Number);
  return { instructions: instructions / (jobs * COUNT), lines: stores.filter((count) => count >= COUNT / 2).length };
}

async function measure(folder: string, device: string): Promise<Cost[]> {
  // All that is done once for each block.
  sh(`${program('io')} ${device} write 1 ${BLOCKS} 7 65536`);
  const costs: Cost[] = [];
  for (const jobs of CPUS) {
    const several: Cost[] = [];
    for (let i = 0; i < RUNS; i++) several.push(await work(folder, jobs, device));
    const median = (of: keyof Cost): number => figureOf(several.map((cost) => cost[of])).median;
    costs.push({ instructions: median('instructions'), lines: median('lines') });
  }
  return costs;
}

/**
 * The whole chapter, in Markdown.
 * @param folder where the plugin leaves what it has counted
 */
export async function parallel(folder: string): Promise<string> {
  const queues = Math.max(...CPUS);
  sh(`modprobe null_blk queue_mode=2 irqmode=0 memory_backed=0 gb=64 submit_queues=${queues} nr_devices=2; modprobe -a dm-mod`);
  const bare = await measure(folder, DISK);
  sh('modprobe -a blkfilter_cbt blkfilter_trace blkfilter_guard');
  await unhooked();
  const line = (title: string, costs: Cost[], less: Cost[]): string[] => {
    const cells = costs.map(({ instructions }, i) => {
      const above = instructions - (less[i]?.instructions ?? 0);
      return `${less.length === 0 ? '' : above < 0 ? '−' : '+'}${grouped(Math.abs(above))}`;
    });
    return [title, ...cells, ...costs.slice(1).map(({ lines }) => grouped(lines))];
  };
  const lines = [line('bare device (absolute)', bare, [])];
  for (const { title, begin, device = DISK } of rows) {
    console.error(`bench: parallel, ${title}`);
    const end = await begin();
    lines.push(line(title, await measure(folder, device).finally(end), bare));
  }
  sh('rmmod null_blk');
  const heads = (what: string, cpus: number[]): string[] => cpus.map((count) => `${what}, ${count} CPU${count > 1 ? 's' : ''}`);
  return `${table(['a write, QD1', ...heads('instructions', CPUS), ...heads('lines shared', CPUS.slice(1))], lines)}

As many jobs as CPUs, each on one of its own, write to one disk with as many queues. A line is shared that two CPUs store into
at least once for two requests of theirs.`;
}
