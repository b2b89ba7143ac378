// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { open } from '../../index.js';
import { answer, type OutputOptions } from '../output.js';

async function checkpoint(path: string, options: OutputOptions): Promise<void> {
  const device = await open(path);
  try {
    const tracker = await device.filter('cbt');
    const { generation, epoch } = await tracker.checkpoint();
    await answer(options, { device: path, generation, epoch }, () =>
      [
        `epoch ${epoch} of generation ${generation} begins`,
        `read what changes from now on with: blkfilter changes ${path} --since ${epoch} --generation ${generation}`,
      ].join('\n'),
    );
  } finally {
    await device.close();
  }
}

export function addCheckpoint(program: Command): void {
  program
    .command('checkpoint DEV')
    .description('end the current epoch of change tracking and start the next')
    .option('--json', 'print JSON')
    .action(checkpoint);
}
