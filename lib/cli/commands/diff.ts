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
import { parseEpoch } from './changes.js';

interface DiffFlags extends OutputOptions {
  since?: number;
  generation?: string;
  full?: true;
  output?: string;
}

/** What is wrong with the flags, said before anything is opened. */
function refuse({ since, generation, full, output }: DiffFlags): void {
  const wrong = (reason: string, hint: string): never => {
    throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint });
  };
  if ((since === undefined) !== (full === true)) {
    wrong('either --since or --full', 'the first diff is --full, the next --since');
  }
  if (generation !== undefined && full) wrong('--generation goes with --since', 'a diff of all needs none');
  if (output === undefined && process.stdout.isTTY) {
    wrong('a diff is nothing for a terminal', 'use --output FILE, or pipe it on');
  }
}

/** Writes a diff to a file, of which nothing is left when that is interrupted. */
async function save(device: BlockDevice, options: DiffOptions, path: string): Promise<Diff> {
  await checkOutput(device, path);
  return interruptible(path, 'run it again, since the same epoch', async (signal) => {
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
  const since = from ? `what changed since epoch ${from.epoch}` : 'all of it';
  return [
    `${path}: ${since}, up to epoch ${to.epoch} of generation ${to.generation}`,
    `${formatSize(copied)} of data, ${formatSize(zeroed)} of zeroes`,
    `make the next with: blkfilter diff ${path} --since ${to.epoch} --generation ${to.generation}`,
  ].join('\n');
}

async function run(path: string, flags: DiffFlags): Promise<void> {
  refuse(flags);
  const { json, output, ...options } = flags;
  const device = await open(path);
  try {
    const diff = output === undefined ? await pipe(device, options) : await save(device, options, output);
    const { from, to, size, copied, zeroed } = diff;
    const document = { device: path, output: output ?? null, since: from?.epoch ?? null, ...to, size, copied, zeroed };
    if (json && output !== undefined) await write(`${JSON.stringify(document)}\n`);
    else process.stderr.write(`${json ? JSON.stringify(document) : describe(path, diff)}\n`);
  } finally {
    await device.close();
  }
}

export function addDiff(program: Command): void {
  const command = program
    .command('diff DEV')
    .description('write what changed, with its data, to stdout or a file')
    .option('--since <epoch>', 'what changed in this epoch or later', parseEpoch)
    .option('--generation <uuid>', 'fail if tracking had a gap since this generation')
    .option('--full', 'all of the device')
    .option('--output <file>', 'write to a file')
    .option('--json', 'print JSON, on stderr when the diff goes to stdout')
    .action(run);
  example(command, 'blkfilter diff /dev/sdb --since 2 --output monday.diff');
}
