// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { open } from '../../index.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

async function forget(path: string, name: string, options: OutputOptions): Promise<void> {
  const device = await open(path);
  try {
    await (await device.filter('cbt')).forgetName(name);
    await answer(options, { device: path, name }, () => `no checkpoint of ${path} is named ${name} any more`);
  } finally {
    await device.close();
  }
}

export function addForget(program: Command): void {
  const command = program
    .command('forget DEV NAME')
    .description('take its name away from a checkpoint; its mark is as good as before')
    .option('--json', 'print JSON')
    .action(forget);
  example(command, 'blkfilter forget /dev/sdb nightly');
}
