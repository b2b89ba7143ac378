// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { BlkfilterError, applyDiff, formatSize, type ApplyResult } from '../../index.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

interface ApplyFlags extends OutputOptions {
  force?: true;
  state?: string;
}

function stdin(): AsyncIterable<Uint8Array> {
  if (!process.stdin.isTTY) return process.stdin;
  const reason = 'a terminal gives no diff';
  throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: 'name a file, or pipe a diff to it' });
}

function describe({ target, mark, copied, zeroed }: ApplyResult): string {
  const at = mark === null ? 'where the diff leads to' : `at ${mark}`;
  return `${target} is ${at}\n${formatSize(copied)} of data, ${formatSize(zeroed)} of zeroes applied`;
}

async function run(file: string, target: string, { json, ...options }: ApplyFlags): Promise<void> {
  const result = await applyDiff(file === '-' ? stdin() : file, target, options);
  await answer(json ? { json } : {}, result, () => describe(result));
}

export function addApply(program: Command): void {
  const command = program
    .command('apply FILE TARGET')
    .description('apply a diff to a file or device; - is stdin')
    .option('--force', 'whatever the target is known to hold')
    .option('--state <file>', 'where the state of the target is kept, instead of beside it')
    .option('--json', 'print JSON')
    .action(run);
  example(command, 'blkfilter apply monday.diff /var/backups/sdb.img');
}
