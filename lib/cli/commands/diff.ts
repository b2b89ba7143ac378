// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { checkOutput } from '../../diff/create.js';
import {
  BlkfilterError,
  createDiff,
  formatSize,
  open,
  type BlockDevice,
  type Diff,
  type DiffOptions,
} from '../../index.js';
import { example } from '../example.js';
import { interruptible } from '../interrupt.js';
import { stream, write, type OutputOptions } from '../output.js';
import { addSince, parseName, refuseSince, sinceOf, type SinceFlags } from '../since.js';

interface DiffFlags extends SinceFlags, OutputOptions {
  full?: true;
  output?: string;
  name?: string;
}

/** What is wrong with the flags, said before anything is opened. */
function refuse({ full, output, name, ...since }: DiffFlags): void {
  const wrong = (reason: string, hint: string): never => {
    throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint });
  };
  if ((since.since === undefined) !== (full === true)) {
    wrong('either --since or --full', 'the first diff is --full, the next --since');
  }
  refuseSince(since);
  if (name !== undefined && output === undefined) {
    wrong('--name goes with --output', 'of a diff in a pipe nobody here knows whether it arrives: keep the mark that is printed');
  }
  if (output === undefined && process.stdout.isTTY) {
    wrong('a diff is nothing for a terminal', 'use --output FILE, or pipe it on');
  }
}

/** Writes a diff to a file, of which nothing is left when that is interrupted. */
async function save(device: BlockDevice, options: DiffOptions, path: string): Promise<Diff> {
  await checkOutput(device, path);
  return interruptible(path, 'run it again, since the same mark', async (signal) => {
    const diff = await createDiff(device, { ...options, signal });
    await diff.save(path);
    return diff;
  });
}

async function pipe(device: BlockDevice, options: DiffOptions): Promise<Diff> {
  const diff = await createDiff(device, options);
  await stream(diff);
  return diff;
}

function describe(path: string, { from, to, copied, zeroed }: Diff): string {
  return [
    `${path}: ${from ? `what changed since ${from}` : 'all of it'}`,
    `${formatSize(copied)} of data, ${formatSize(zeroed)} of zeroes`,
    `make the next with: blkfilter diff ${path} --since ${to}`,
  ].join('\n');
}

async function run(path: string, flags: DiffFlags): Promise<void> {
  refuse(flags);
  const { json, output, name, since } = flags;
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const options: DiffOptions = since === undefined ? { full: true } : await sinceOf(tracker, since);
    const diff = output === undefined ? await pipe(device, options) : await save(device, options, output);
    // Only now: whoever fails before begins again from the mark that has the name.
    if (name !== undefined) await tracker.nameMark(diff.to, name);
    const { from, to, size, copied, zeroed } = diff;
    const document = { device: path, output: output ?? null, since: from ?? null, mark: to, size, copied, zeroed };
    if (json && output !== undefined) await write(`${JSON.stringify(document)}\n`);
    else process.stderr.write(`${json ? JSON.stringify(document) : describe(path, diff)}\n`);
  } finally {
    await device.close();
  }
}

export function addDiff(program: Command): void {
  const command = addSince(program.command('diff DEV'), { mandatory: false })
    .description('write what changed, with its data, to stdout or a file')
    .option('--full', 'all of the device')
    .option('--output <file>', 'write to a file')
    .option('--name <name>', 'name the mark that it leads to, once the file is there', parseName)
    .option('--json', 'print JSON, on stderr when the diff goes to stdout')
    .action(run);
  example(command, 'blkfilter diff /dev/sdb --since sunday.diff --output monday.diff');
}
