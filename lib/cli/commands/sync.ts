// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { theOnly } from '../../copy/sync.js';
import { BlkfilterError, formatSize, sync, type SyncCopy, type SyncPair, type SyncRun } from '../../index.js';
import { example } from '../example.js';
import { interruptible } from '../interrupt.js';
import { missingLines, notFrozenLines } from '../moment.js';
import { paint, readerGone, write, type OutputOptions } from '../output.js';
import { progressView } from '../progress.js';

interface SyncFlags extends OutputOptions {
  pair?: SyncPair[];
  freeze: boolean;
  verify?: true;
  full?: true;
  state?: string[];
  blockSize?: string;
}

/** What became of one copy, in words. */
function copyLines({ source, target, mode, reason, mark, passes, copied, zeroed, verified, missingMembers }: SyncCopy): string[] {
  const lines = [
    `${target} is a copy of ${source} (${mode}: ${reason})`,
    `${formatSize(copied)} copied, ${formatSize(zeroed)} of zeroes, in ${passes} passes`,
  ];
  if (verified !== undefined) lines.push(`${formatSize(verified)} compared: the same`);
  lines.push(`what changes from now on: blkfilter changes ${source} --since ${mark}`);
  return [...lines, ...missingLines(missingMembers)];
}

/** Whether they are of one moment, in words. */
function verdict({ consistent, copies }: Pick<SyncRun, 'consistent' | 'copies'>): string {
  const one = copies.length === 1;
  if (consistent) return one ? 'it is what the source was at one moment' : 'they are what the sources were at one and the same moment';
  const it = one ? 'it is' : 'they are';
  if (copies.some(({ missingMembers }) => missingMembers.length > 0)) {
    return paint('yellow', `${it} not of one moment with the rest: name the missing devices in the same run`);
  }
  const source = one ? 'the source' : 'a source';
  return paint('yellow', `${it} of no single moment: ${source} was written to all the time; run it again, or stop the writers`);
}

function describe({ frozen, notFrozen, consistent, copies }: SyncRun): string {
  const lines = copies.flatMap(copyLines);
  if (frozen.length) lines.push(`frozen for the last pass: ${frozen.join(', ')}`);
  return [...lines, ...notFrozenLines(notFrozen), verdict({ consistent, copies })].join('\n');
}

/** Adds a `SOURCE=TARGET`. */
function collectPair(text: string, previous: SyncPair[] = []): SyncPair[] {
  const [, source, target] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (source === undefined || target === undefined) throw new InvalidArgumentError('Write SOURCE=TARGET.');
  return [...previous, { source, target }];
}

const collect = (text: string, previous: string[] = []): string[] => [...previous, text];

/** The pairs that the arguments and flags name. */
function pairsOf(source?: string, target?: string, pair?: SyncPair[], state?: string[]): SyncPair[] {
  const wrong = (reason: string, hint: string): BlkfilterError =>
    new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint });
  const pairs = pair ?? (source !== undefined && target !== undefined ? [{ source, target }] : undefined);
  if (!pairs || (pair && source !== undefined)) {
    throw wrong('either SRC and DST, or --pair', 'for several devices, a `--pair SOURCE=TARGET` for each');
  }
  if (state && state.length !== pairs.length) {
    throw wrong('--state for each pair, or for none', 'repeat it, in the order of the pairs');
  }
  return pairs.map((one, i) => ({ ...one, state: state?.[i] }));
}

const again = 'run it again: it goes on from where that is sound, or copies everything, and says which';

async function run(source: string | undefined, target: string | undefined, flags: SyncFlags): Promise<void> {
  const { json, pair, state, ...options } = flags;
  const pairs = pairsOf(source, target, pair, state);
  const view = await progressView(json ? { json } : {});
  const onProgress = view?.show.bind(view);
  // Whoever reads how far it is and ends must not take a part of a copy for all of it.
  using gone = json && readerGone();
  const targets = pairs.map((one) => one.target).join(', ');
  const done = await interruptible(targets, again, (interrupted) => {
    const signal = gone ? AbortSignal.any([interrupted, gone.signal]) : interrupted;
    return sync(pairs, { ...options, signal, ...(onProgress && { onProgress }) });
  }).finally(() => view?.stop());
  await write(`${json ? JSON.stringify({ event: 'done', ...(pair ? done : theOnly(done)) }) : describe(done)}\n`);
}

export function addSync(program: Command): void {
  const command = program
    .command('sync [SRC] [DST]')
    .description('copy a live device, or several of one moment, to files or devices; the next time, what changed')
    .option('--pair <src=dst>', 'for several devices, instead of SRC and DST: one of them; to be repeated', collectPair)
    .option('--no-freeze', 'do not freeze the file systems on the source for the last pass')
    .option('--verify', 'read both at the end, and compare')
    .option('--full', 'copy everything, whatever is known')
    .option('--state <file>', 'where the state of the copy is kept, instead of beside it; repeated, one for each pair', collect)
    .option('--block-size <size>', 'what changes are tracked by, if they are not yet (64KiB)')
    .option('--json', 'print JSON, an object a line')
    .action(run);
  example(command, 'blkfilter sync /dev/sdb /var/backups/sdb.img --verify');
}
