// SPDX-License-Identifier: MIT
//
// How long a write may take while filters come and go. One that writes steadily to a disk which needs 100 µs for a
// request tells its longest; on this machine's one CPU, anything that runs beside it costs it time, so a process that
// does as much of something harmless is what to compare with.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { open } from 'blkfilter';

import { grouped, sh, table } from './measure.js';

const DISK = '/dev/nullb0';
const SECONDS = 20;

/** What fio says of a job, in nanoseconds. */
interface Latency {
  max: number;
  percentile: Record<string, number>;
}

async function steadyWriter(beside: () => Promise<unknown>): Promise<{ latency: Latency; times: number }> {
  const fio = spawn('fio', [
    '--name=steady', `--filename=${DISK}`, '--direct=1', '--rw=randwrite', '--bs=4k', '--ioengine=libaio', '--iodepth=1',
    '--rate_iops=500', '--time_based', `--runtime=${SECONDS}`, '--output-format=json',
  ], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  fio.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(fio, 'exit');
  let times = 0;
  // Only while it writes: its start is no one's stall.
  await sleep(2000);
  for (const until = performance.now() + (SECONDS - 4) * 1000; fio.exitCode === null && performance.now() < until; times++) {
    await beside();
    await sleep(20);
  }
  await ended;
  const { jobs } = JSON.parse(output) as { jobs: { write: { clat_ns: Latency } }[] };
  const latency = jobs[0]?.write.clat_ns;
  if (!latency) throw new Error('fio tells no latency');
  return { latency, times };
}

/** The whole chapter, in Markdown. */
export async function stall(): Promise<string> {
  sh('modprobe blkfilter_cbt; modprobe null_blk queue_mode=2 irqmode=2 completion_nsec=100000 memory_backed=0 gb=4 nr_devices=1');
  await using device = await open(DISK);
  const tracker = await device.attach('cbt');
  const rows: string[][] = [];
  const row = async (title: string, beside: () => Promise<unknown>): Promise<void> => {
    console.error(`bench: stall, ${title}`);
    const { latency, times } = await steadyWriter(beside);
    const [median = NaN, most = NaN] = ['50.000000', '99.900000'].map((name) => latency.percentile[name]);
    rows.push([title, grouped(times), ...[median, most, latency.max].map((ns) => grouped(ns / 1000))]);
  };
  await row('nothing but the writer', () => Promise.resolve());
  await row('`info`, which stops nobody', () => tracker.info());
  await row('`checkpoint`', () => tracker.checkpoint());
  await tracker.detach();
  await row('`attach` and `detach`', async () => (await device.attach('cbt')).detach());
  await row('`modprobe` and `rmmod` of something else', () => Promise.resolve(sh('modprobe dm-mod; rmmod dm-mod')));
  await row('`modprobe` and `rmmod` of both modules', async () => {
    sh('rmmod blkfilter_cbt blkfilter; modprobe blkfilter_cbt');
    await using again = await open(DISK);
    await (await again.attach('cbt')).detach();
  });
  await device.close();
  sh('rmmod null_blk');
  return table(['beside it, for 16 s', 'times', 'median µs', '99.9 % µs', 'longest µs'], rows);
}
