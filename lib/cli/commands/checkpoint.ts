// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { open, type FrozenCheckpoint } from '../../index.js';
import { example } from '../example.js';
import { answer, paint, type OutputOptions } from '../output.js';
import { parseName } from '../since.js';

interface CheckpointFlags extends OutputOptions {
  freeze?: true;
  name?: string;
}

/** What was frozen, in words. */
function frozenLines({ frozen, notFrozen }: FrozenCheckpoint): string[] {
  return [
    frozen.length ? `frozen meanwhile: ${frozen.join(', ')}` : 'no file system was frozen',
    ...notFrozen.map(({ path, reason }) => paint('yellow', `not frozen: ${path} (${reason})`)),
  ];
}

async function checkpoint(path: string, { freeze, name, ...options }: CheckpointFlags): Promise<void> {
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const done = await tracker.checkpoint({ ...(freeze && { freeze }), ...(name !== undefined && { name }) });
    const { mark } = done;
    await answer(options, { device: path, ...done }, () =>
      [
        mark,
        `read what changes from now on with: blkfilter changes ${path} --since ${name ?? mark}`,
        ...('frozen' in done ? frozenLines(done as FrozenCheckpoint) : []),
      ].join('\n'),
    );
  } finally {
    await device.close();
  }
}

export function addCheckpoint(program: Command): void {
  const command = program
    .command('checkpoint DEV')
    .description('end the current epoch of change tracking and start the next')
    .option('--freeze', 'freeze the file systems on it meanwhile, and say which')
    .option('--name <name>', 'give it a name, which an earlier one that has it loses', parseName)
    .option('--json', 'print JSON')
    .action(checkpoint);
  example(command, 'blkfilter checkpoint /dev/sdb --freeze --json');
}
