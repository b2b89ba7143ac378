// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { open } from '../../index.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

async function detach(path: string, filter: string, options: OutputOptions): Promise<void> {
  const device = await open(path);
  try {
    const altitude = (await device.filters()).find(({ name }) => name === filter)?.altitude ?? null;
    await device.detach(filter);
    await answer(options, { device: path, filter, altitude }, () => `${filter} is detached from ${path}`);
  } finally {
    await device.close();
  }
}

export function addDetach(program: Command): void {
  const command = program
    .command('detach DEV FILTER')
    .description('take a filter off a device')
    .option('--json', 'print JSON')
    .action(detach);
  example(command, 'blkfilter detach /dev/sdb cbt');
}
