// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { formatSize, open, type CbtInfo, type History } from '../../index.js';
import { gapReasons } from '../../filters/cbt.js';
import { example } from '../example.js';
import { answer, table, type OutputOptions } from '../output.js';

function describe(path: string, { blockSize, memory, overreported }: CbtInfo, history: History): string {
  const { generation, gap, began, mark, epochs } = history;
  return [
    `${path}: generation ${generation}`,
    `it began ${began}, because ${gapReasons[gap] ?? gap}`,
    `blocks of ${formatSize(blockSize)}; the map holds ${formatSize(memory)}`,
    ...(overreported ? [`whole areas were recorded as changed ${overreported} times, for want of memory`] : []),
    `the newest mark: ${mark}`,
    '',
    table(['EPOCH', 'BEGAN', 'NAME'], epochs.map(({ epoch, time, name }) => [String(epoch), time, name ?? ''])),
  ].join('\n');
}

async function info(path: string, options: OutputOptions): Promise<void> {
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const state = await tracker.info();
    const history = await tracker.history();
    await answer(options, { device: path, ...state, ...history }, () => describe(path, state, history));
  } finally {
    await device.close();
  }
}

export function addInfo(program: Command): void {
  const command = program
    .command('info DEV')
    .description('show what is tracked of a device, and the checkpoints that were taken')
    .option('--json', 'print JSON')
    .action(info);
  example(command, 'blkfilter info /dev/sdb');
}
