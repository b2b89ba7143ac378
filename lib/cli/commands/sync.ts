// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { formatSize, sync, type SyncResult } from '../../index.js';
import { example } from '../example.js';
import { interruptible } from '../interrupt.js';
import { paint, readerGone, write, type OutputOptions } from '../output.js';
import { progressView } from '../progress.js';

interface SyncFlags extends OutputOptions {
  freeze: boolean;
  verify?: true;
  full?: true;
  state?: string;
  blockSize?: string;
}

function describe(result: SyncResult): string {
  const { source, target, mode, reason, mark, passes, copied, zeroed, frozen, notFrozen, consistent, verified } = result;
  const lines = [
    `${target} is a copy of ${source} (${mode}: ${reason})`,
    `${formatSize(copied)} copied, ${formatSize(zeroed)} of zeroes, in ${passes} passes`,
  ];
  if (verified !== undefined) lines.push(`${formatSize(verified)} compared: the same`);
  if (frozen.length) lines.push(`frozen for the last pass: ${frozen.join(', ')}`);
  for (const { path, reason } of notFrozen) lines.push(paint('yellow', `not frozen: ${path} (${reason})`));
  lines.push(
    consistent
      ? 'it is what the source was at one moment'
      : paint('yellow', 'it is of no single moment: the source was written to all the time; run it again, or stop the writers'),
  );
  lines.push(`what changes from now on: blkfilter changes ${source} --since ${mark}`);
  return lines.join('\n');
}

const again = 'run it again: it goes on from where that is sound, or copies everything, and says which';

async function run(source: string, target: string, { json, ...options }: SyncFlags): Promise<void> {
  const view = await progressView(json ? { json } : {});
  const onProgress = view?.show.bind(view);
  // Whoever reads how far it is and ends must not take a part of a copy for all of it.
  using gone = json && readerGone();
  const result = await interruptible(target, again, (interrupted) => {
    const signal = gone ? AbortSignal.any([interrupted, gone.signal]) : interrupted;
    return sync(source, target, { ...options, signal, ...(onProgress && { onProgress }) });
  }).finally(() => view?.stop());
  await write(`${json ? JSON.stringify({ event: 'done', ...result }) : describe(result)}\n`);
}

export function addSync(program: Command): void {
  const command = program
    .command('sync SRC DST')
    .description('copy a live device to a file or device; the next time, what changed')
    .option('--no-freeze', 'do not freeze the file systems on the source for the last pass')
    .option('--verify', 'read both at the end, and compare')
    .option('--full', 'copy everything, whatever is known')
    .option('--state <file>', 'where the state of the copy is kept, instead of beside it')
    .option('--block-size <size>', 'what changes are tracked by, if they are not yet (64KiB)')
    .option('--json', 'print JSON, an object a line')
    .action(run);
  example(command, 'blkfilter sync /dev/sdb /var/backups/sdb.img --verify');
}
