// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { open, type AttachedFilter } from '../../index.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

type Options = Record<string, string>;

/** `block-size=64KiB` and `blockSize=65536` are the same. The values stay text: the filter's schema knows what it wants. */
function collect(text: string, previous: Options = {}): Options {
  const [, name, value] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('Write NAME=VALUE.');
  const key = name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  return { ...previous, [key]: value };
}

async function attach(path: string, filter: string, options: OutputOptions & { option?: Options }): Promise<void> {
  const device = await open(path);
  try {
    // The API checks the options of the filter that is named; here the name is only known at run time.
    await device.attach<string>(filter, (options.option ?? {}) as Record<string, never>);
    const { altitude = null } = (await device.filters()).find(({ name }) => name === filter) ?? ({} as Partial<AttachedFilter>);
    await answer(options, { device: path, filter, altitude }, () => `${filter} is attached to ${path}`);
  } finally {
    await device.close();
  }
}

export function addAttach(program: Command): void {
  const command = program
    .command('attach DEV FILTER')
    .description('attach a filter to a live device')
    .option('--option <name=value>', 'an option of the filter, such as block-size=64KiB; may be repeated', collect)
    .option('--json', 'print JSON')
    .action(attach);
  example(command, 'blkfilter attach /dev/sdb cbt --option block-size=64KiB');
}
