// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import {
  BlkfilterError,
  open,
  parseRange,
  type BlockDevice,
  type Trace,
  type TraceOptions,
  type TraceStream,
} from '../../index.js';
import { example } from '../example.js';
import { endless } from '../interrupt.js';
import { paint, write, type OutputOptions } from '../output.js';
import { JsonLines, TextLines, type Lines } from '../trace/lines.js';
import { Summary, summaryLines } from '../trace/summary.js';

interface TraceFlags extends OutputOptions {
  ops?: string;
  range?: ReturnType<typeof parseRange>;
  task?: number;
  cgroup?: number;
  segments?: true;
  match?: string;
  buffer?: string;
  summary?: number;
}

/** Attaches trace where it is not attached; whoever did it takes it off again. */
async function attach(device: BlockDevice, options: TraceOptions): Promise<{ trace: Trace; attached: boolean }> {
  try {
    return { trace: await device.attach('trace', options), attached: true };
  } catch (error) {
    if (!(error instanceof BlkfilterError) || error.code !== 'EALREADY') throw error;
    const trace = await device.filter('trace');
    await trace.setOptions(options);
    return { trace, attached: false };
  }
}

async function printEvents(stream: TraceStream, lines: Lines): Promise<void> {
  await write(lines.heading);
  for await (const batch of stream.batches()) {
    await write([...batch.drops.map((drops) => lines.drops(drops)), ...Array.from(batch, (event) => lines.event(event))].join(''));
  }
  if (stream.ended) await write(lines.end(stream.ended));
}

async function printSummaries(stream: TraceStream, device: BlockDevice, interval: number, json: boolean): Promise<void> {
  const summary = new Summary(await device.sectors());
  let since = performance.now();
  const print = async (): Promise<void> => {
    const now = performance.now();
    const figures = summary.take((now - since) / 1000);
    since = now;
    if (json) return write(`${JSON.stringify({ device: device.path, ...figures })}\n`);
    // A terminal is drawn anew, from its upper left corner; elsewhere one table follows the other.
    const clear = process.stdout.isTTY ? '\x1b[H\x1b[2J' : '';
    return write(`${clear}${summaryLines(device.path, figures, paint).join('\n')}\n\n`);
  };
  let printing = Promise.resolve();
  const timer = setInterval(() => {
    printing = printing.then(print);
  }, interval * 1000);
  try {
    for await (const batch of stream.batches()) {
      for (const event of batch) summary.add(event);
      for (const { count } of batch.drops) summary.addDropped(count);
    }
  } finally {
    clearInterval(timer);
    await printing;
    if (!process.stdout.errored) await print();
  }
}

async function trace(path: string, { ops, range, summary, json, ...flags }: TraceFlags): Promise<void> {
  const { task, cgroup, segments, match, buffer } = flags;
  const options: TraceOptions = {
    ...range,
    ...(ops !== undefined && { operations: ops }),
    ...(task !== undefined && { task }),
    ...(cgroup !== undefined && { cgroup }),
    ...(segments && { segments }),
    ...(match !== undefined && { match }),
    ...(buffer !== undefined && { buffer }),
  };
  const device = await open(path);
  try {
    await endless(async (signal) => {
      const { trace, attached } = await attach(device, options);
      let stream: TraceStream | undefined;
      try {
        stream = await trace.open({ signal });
        if (summary !== undefined) await printSummaries(stream, device, summary, json === true);
        else await printEvents(stream, json ? new JsonLines() : new TextLines({ matches: match !== undefined }));
      } finally {
        // Where somebody else has detached it, or the disk is gone, nothing is left to be done.
        if (attached && !stream?.ended) await trace.detach();
      }
    });
  } finally {
    await device.close();
  }
}

function parseSeconds(text: string): number {
  if (!/^\d{1,5}(\.\d+)?$/.test(text) || Number(text) < 0.1) throw new InvalidArgumentError('It is a number of seconds from 0.1 on.');
  return Number(text);
}

function parseId(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError('An id is a positive number.');
  return Number(text);
}

export function addTrace(program: Command): void {
  const command = program
    .command('trace DEV')
    .description('show every request to a device, until it is interrupted')
    .option('--ops <list>', 'only these operations, such as read,write')
    .option('--range <sectors>', 'only requests that touch these sectors, such as 0-2047', parseRange)
    .option('--task <id>', 'only requests of this process or thread', parseId)
    .option('--cgroup <id>', "only requests of the control group whose folder has this inode number", parseId)
    .option('--segments', 'show the memory segments of the data')
    .option('--match <text>', 'count how often this occurs in the data')
    .option('--buffer <size>', 'of each CPU: a power of two, 512KiB unless told')
    .option('--summary <seconds>', 'show rates, latencies and the hottest areas so often, instead of requests', parseSeconds)
    .option('--json', 'print JSON, an object a line')
    .action(trace);
  example(command, 'blkfilter trace /dev/sdb --ops write --summary 2');
}
