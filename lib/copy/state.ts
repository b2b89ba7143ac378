// SPDX-License-Identifier: MIT
// What is known of a copy, kept beside it, so that the next run knows where to go on.
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

import { BlkfilterError } from '../errors.js';
import { replaceFile } from '../files.js';
import { generation, whole } from '../options.js';
import type { Target, TargetIdentity } from './target.js';

const epoch = z.int().min(1);

const schema = z.strictObject({
  version: z.literal(1),
  /** Where the data came from, if that is known. The generation tells sources apart; this is for people. */
  source: z.strictObject({ path: z.string(), sectors: whole, diskSequence: whole }).optional(),
  generation,
  /**
   * The copy holds what the source held when this epoch began, or something newer in blocks that changed in this epoch or
   * later. Null: it holds nothing that could be relied on.
   */
  epoch: epoch.nullable(),
  blockSize: whole.optional(),
  /** Without `modified` a run is writing to it, or was killed while it did: what is written then is taken for its doing. */
  target: z.strictObject({ id: z.string(), size: whole, modified: z.string().optional() }),
  /** False: a run is writing to the copy, or was cut off while it did. */
  complete: z.boolean(),
  /** The epoch that a diff leads to which was applied in part. */
  pending: epoch.optional(),
  /**
   * The run that has made the copy what it is. Copies with runs of one name are of one moment if they are consistent, which
   * none is said to be before all targets of the run are complete.
   */
  run: z.strictObject({ id: z.uuid(), targets: z.array(z.string()), consistent: z.boolean() }).optional(),
});

/** What is known of a copy. */
export type CopyState = z.output<typeof schema>;

/**
 * Where the state of a target is kept: beside a file. For a device, whose folder is made anew at each start of the machine,
 * in a folder of which that is true as well; under its number, because it has many names.
 */
export const statePath = ({ path, device }: Target, chosen: string | undefined): string =>
  chosen ?? (device === undefined ? `${path}.blkfilter.json` : `/run/blkfilter/${device}.json`);

/**
 * Reads the state.
 * @returns undefined when there is none
 * @throws {BlkfilterError} `EPROTO` it is damaged
 */
export async function readState(path: string): Promise<CopyState | undefined> {
  let text;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new BlkfilterError({
      code: 'EPROTO',
      reason: 'the state of the copy makes no sense',
      hint: `remove ${path}: the next run then copies everything`,
      path,
      cause,
    });
  }
}

/** Writes the state: all of it is there afterwards, or what was there before. */
export async function writeState(path: string, state: CopyState): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await replaceFile(path, (file) => file.writeFile(`${JSON.stringify(state, null, 2)}\n`));
}

/**
 * Why a state does not describe a target; undefined when it does.
 * @param now what the target is now
 */
export function mismatch({ target, pending }: CopyState, now: TargetIdentity): string | undefined {
  if (target.id !== now.id) return 'the target is another one than was written to';
  // A diff that was applied in part may have given it another size, or been cut off just before.
  if (pending === undefined && target.size !== now.size) return 'the size of the target is another one';
  if (target.modified !== undefined && target.modified !== now.modified) return 'somebody else has written to the target';
  return undefined;
}

/**
 * The state of a target, with what it is now.
 * @param writing a run goes on to write to it
 */
export async function describe(
  target: Target,
  state: Omit<CopyState, 'version' | 'target'>,
  writing: boolean,
): Promise<CopyState> {
  const { modified, ...identity } = await target.identity();
  return { version: 1, ...state, target: writing ? identity : { ...identity, modified } };
}
