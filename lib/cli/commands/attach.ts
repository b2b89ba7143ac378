// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';
import { z } from 'zod';

import { optionsOf } from '../../device.js';
import { ChangeTracker, open, type AttachedFilter } from '../../index.js';
import { example } from '../example.js';
import { answer, type OutputOptions } from '../output.js';

type Options = Record<string, string>;

/** `block-size=64KiB` and `blockSize=65536` are the same. */
function collect(text: string, previous: Options = {}): Options {
  const [, name, value] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('Write NAME=VALUE.');
  const key = name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  return { ...previous, [key]: value };
}

/** What a text may stand for. */
function meanings(text: string): unknown[] {
  const number = /^\d+$/.test(text) ? [Number(text)] : [];
  const truth = text === 'true' || text === 'false' ? [text === 'true'] : [];
  return [text, ...number, ...truth];
}

/** The options, each in the form that the filter's schema takes. What it takes in none stays text, for the API to refuse. */
export function typed(filter: string, options: Options): Record<string, unknown> {
  const schema = optionsOf(filter);
  const shape: Record<string, z.ZodType> = schema instanceof z.ZodObject ? schema.shape : {};
  return Object.fromEntries(
    Object.entries(options).map(([name, text]) => {
      const taken = meanings(text).find((value) => shape[name]?.safeParse(value).success);
      return [name, taken ?? text];
    }),
  );
}

async function attach(path: string, filter: string, options: OutputOptions & { option?: Options }): Promise<void> {
  const device = await open(path);
  try {
    // The API checks the options of the filter that is named; here the name is only known at run time.
    const handle = await device.attach<string>(filter, typed(filter, options.option ?? {}) as Record<string, never>);
    const { altitude = null } = (await device.filters()).find(({ name }) => name === filter) ?? ({} as Partial<AttachedFilter>);
    const mark = handle instanceof ChangeTracker ? (await handle.history()).mark : undefined;
    await answer(options, { device: path, filter, altitude, ...(mark && { mark }) }, () =>
      [
        `${filter} is attached to ${path}`,
        ...(mark ? [`read what changes from now on with: blkfilter changes ${path} --since ${mark}`] : []),
      ].join('\n'),
    );
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
