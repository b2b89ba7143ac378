// SPDX-License-Identifier: MIT
import type { Command } from 'commander';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import { BlkfilterError } from '../../index.js';
import { packageRoot } from '../../package.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

async function buildAddon(options: OutputOptions): Promise<void> {
  // What the compiler says is no answer: it goes to stderr.
  const child = spawn(process.execPath, [join(packageRoot, 'native/build.mjs')], { stdio: ['ignore', 2, 2] });
  const [status] = (await once(child, 'exit')) as [number | null];
  if (status !== 0) {
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ADDON',
      reason: 'the native addon cannot be built',
      hint: `it takes g++, make and python3 (\`apt-get install g++ make python3\`), and the right to write to ${packageRoot}`,
    });
  }
  const addon = join(packageRoot, 'build/Release/blkfilter.node');
  await answer(options, { addon }, () => `built ${addon}`);
}

export function addBuildAddon(program: Command): void {
  const command = program
    .command('build-addon')
    .description('compile the native addon, where the one that the package brings does not load')
    .option('--json', 'print JSON')
    .action(buildAddon);
  example(command, 'npx blkfilter build-addon');
}
