// SPDX-License-Identifier: MIT
//
// Where a request's instructions go: by function, as perf samples them by the clock that counts instructions here.
import { open } from 'blkfilter';

import { grouped, program, sh, table, unhooked } from './measure.js';

const DISK = '/dev/nullb0';
const REQUESTS = 1_000_000;
/** Nanoseconds, so instructions, from one sample to the next: the least that perf takes, and of no other rhythm. */
const PERIOD = 10_007;

/** Smaller differences are chance. */
const LEAST = 6;

/**
 * Instructions of one request by function. What perf itself takes for a sample counts as time too, so the samples tell the
 * shares; of how much, is measured without it.
 */
function sampled(kind: string): Map<string, number> {
  const load = `${program('io')} ${DISK} ${kind} 1`;
  sh(`${load} 20000 9`);
  const instructions = Number(sh(`${load} 20000 9`));
  sh(`perf record -q -e cpu-clock -c ${PERIOD} -o /run/perf.data -- ${load} ${REQUESTS} 9 0 ${PERIOD}`);
  const report = sh('perf report -q -i /run/perf.data --stdio --no-children -g none -F sample,sym');
  const samples = Array.from(report.matchAll(/^\s*(\d+)\s+\[[k.]\] (\S+)/gm), ([, count, symbol = '']) => [symbol, Number(count)] as const);
  // The load itself, which pauses between its requests.
  const functions = new Map(samples.filter(([symbol]) => symbol !== 'main'));
  const all = Array.from(functions.values()).reduce((sum, count) => sum + count);
  return new Map(Array.from(functions, ([symbol, count]) => [symbol, (count / all) * instructions]));
}

/** The whole chapter, in Markdown. */
export async function profile(): Promise<string> {
  sh('sysctl -q kernel.perf_event_max_sample_rate=200000 kernel.perf_cpu_time_max_percent=0');
  sh('modprobe null_blk queue_mode=2 irqmode=0 memory_backed=0 gb=64 submit_queues=1; modprobe blkfilter_cbt');
  const kinds = ['write', 'read'];
  const bare = kinds.map(sampled);
  const device = await open(DISK);
  await device.attach('cbt');
  const tracked = kinds.map(sampled);
  await device.detach('cbt');
  await device.close();
  await unhooked();
  sh('rmmod null_blk');

  const symbols = new Set([...bare, ...tracked].flatMap((functions) => [...functions.keys()]));
  const rows = Array.from(symbols, (symbol) => ({
    symbol,
    above: kinds.map((_, i) => (tracked[i]?.get(symbol) ?? 0) - (bare[i]?.get(symbol) ?? 0)),
  }));
  const most = ({ above }: { above: number[] }): number => Math.max(...above.map(Math.abs));
  const listed = rows.filter((row) => most(row) >= LEAST).sort((a, b) => most(b) - most(a));
  const others = rows.filter((row) => most(row) < LEAST);
  const sum = (of: typeof rows): number[] => kinds.map((_, i) => of.reduce((total, { above }) => total + (above[i] ?? 0), 0));
  const line = (title: string, above: number[]): string[] => [title, ...above.map((value) => grouped(value))];
  return table(
    ['cbt, block marked already: above the bare device', ...kinds],
    [...listed.map(({ symbol, above }) => line(`\`${symbol}\``, above)), line('all others', sum(others)), line('all', sum(rows))],
  );
}
