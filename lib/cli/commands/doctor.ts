// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { doctor } from '../../index.js';
import { example } from '../example.js';
import { answer, exit, paint, type OutputOptions } from '../output.js';

async function run(options: OutputOptions): Promise<void> {
  const result = await doctor();
  // Before it is said, for nobody may listen to the end.
  if (!result.ok) process.exitCode = exit.failed;
  await answer(options, result, () =>
    result.checks
      .flatMap(({ name, ok, detail, hint }) => [
        `${ok ? paint('green', 'ok  ') : paint('red', 'FAIL')} ${name}: ${detail}`,
        ...(hint === null ? [] : hint.split('\n').map((line) => `     ${line}`)),
      ])
      .join('\n'),
  );
}

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('look for what this machine lacks')
    .option('--json', 'print JSON')
    .action(run);
  example(command, 'blkfilter doctor');
}
