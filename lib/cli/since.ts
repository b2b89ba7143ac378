// SPDX-License-Identifier: MIT
// What every `--since` takes.
import { InvalidArgumentError, Option, type Command } from 'commander';

import { BlkfilterError, diffMark, type ChangeTracker, type Since } from '../index.js';
import { bareNumber, checkpointName, markText } from '../mark.js';

/** The flags that say since when. */
export interface SinceFlags {
  since?: string;
  anyGeneration?: true;
}

const isNumber = (text: string): boolean => /^[1-9]\d*$/.test(text);

/** No mark and no name has a point or a slash. */
const isPath = (text: string): boolean => /[./]/.test(text);

function parse(text: string): string {
  if (isNumber(text) || isPath(text) || markText.safeParse(text).success) return text;
  throw new InvalidArgumentError('It is a mark (GENERATION:EPOCH), a name that a checkpoint has, or the path of a diff.');
}

/** Reads the name that a checkpoint is to have. */
export function parseName(text: string): string {
  const result = checkpointName.safeParse(text);
  if (result.success) return result.data;
  throw new InvalidArgumentError(`${result.error.issues[0]?.message}.`);
}

/** Adds the options that say since when. */
export function addSince(command: Command, { mandatory }: { mandatory: boolean }): Command {
  const since = new Option('--since <mark>', 'what changed since a mark, a named checkpoint, or an earlier diff (a path)');
  return command
    .addOption(since.argParser(parse).makeOptionMandatory(mandatory))
    .option('--any-generation', 'take the number of an epoch, although each generation has one of that number');
}

/** Refuses flags that say since when, and do not fit each other. */
export function refuseSince({ since, anyGeneration }: SinceFlags): void {
  const number = since !== undefined && isNumber(since);
  if (number && !anyGeneration) throw bareNumber(since, '`--any-generation`');
  if (number || !anyGeneration) return;
  const reason = '--any-generation goes with --since and the number of an epoch';
  throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: 'a mark is of one generation' });
}

/** Since when that is on a device. */
export async function sinceOf(tracker: ChangeTracker, text: string): Promise<Since> {
  if (isNumber(text)) return { since: Number(text), anyGeneration: true };
  return { since: isPath(text) ? await diffMark(text) : await tracker.resolve(text) };
}
