// SPDX-License-Identifier: MIT
// Marks: how one is written, read and checked. Nothing else takes one apart.
import { z } from 'zod';

import { BlkfilterError } from './errors.js';
import { check, generation } from './options.js';

declare const brand: unique symbol;

/**
 * A moment of a device's tracking, `GENERATION:EPOCH`: the beginning of that epoch. It can be kept as the text that it is;
 * {@link parseMark} reads it back.
 */
export type Mark = string & { readonly [brand]: 'Mark' };

/** What a mark is made of. */
export interface MarkParts {
  /** The UUID of the generation. */
  generation: string;
  epoch: number;
}

/** Since when changes are wanted: a mark; or, if any generation will do, the number of an epoch. */
export type Since = { since: Mark; anyGeneration?: false } | { since: number; anyGeneration: true };

/** The number of an epoch. */
export const epoch = z.int().min(1);

/** The mark of an epoch. */
export const markOf = ({ generation, epoch }: MarkParts): Mark => `${generation}:${epoch}` as Mark;

/** What is before the last colon of a text, and the number after it. */
function split(text: string): MarkParts | undefined {
  const [, generation, digits] = /^(.*):([1-9]\d*)$/.exec(text) ?? [];
  const { success, data } = epoch.safeParse(Number(digits));
  return generation !== undefined && success ? { generation: generation.toLowerCase(), epoch: data } : undefined;
}

/** What a mark is made of. */
export function markParts(mark: Mark): MarkParts {
  const parts = split(mark);
  if (!parts) throw new TypeError(`${mark} is no mark`);
  return parts;
}

/** A whole mark. */
export const mark = z.string().transform((text, context): Mark => {
  const parts = split(text);
  if (parts && generation.safeParse(parts.generation).success) return markOf(parts);
  context.addIssue({ code: 'custom', message: `'${text}' is no mark, GENERATION:EPOCH` });
  return z.NEVER;
});

/**
 * Reads a mark.
 * @param text `GENERATION:EPOCH`, the generation written out
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` it is none
 */
export const parseMark = (text: string): Mark => check(mark, text, 'mark');

/**
 * What an epoch may be called. It must not be taken for a mark, a number, an option or the path of a diff. The kernel has
 * the same rule.
 */
export const checkpointName = z
  .string()
  .regex(/^[a-z_][\w-]*$/i, 'a name has letters, digits, _ and -, and begins with a letter or _')
  .max(63, 'a name has 63 letters at most');

/** Digits of the generation that a short mark has at least. */
const SHORT = 8;

/** The parts of a mark of which the generation may be cut short; undefined when the text is none. */
export function shortMark(text: string): MarkParts | undefined {
  const parts = split(text);
  if (!parts || parts.generation.length < SHORT) return undefined;
  // Whatever the rest of it is, it has to be a UUID.
  const filled = parts.generation + '00000000-0000-0000-0000-000000000001'.slice(parts.generation.length);
  return generation.safeParse(filled).success ? parts : undefined;
}

/** What people write for a mark: its parts, of which the generation may be cut short; or the name of an epoch. */
export const markText = z.string().transform((text, context): MarkParts | string => {
  const parts = shortMark(text);
  if (parts) return parts;
  if (checkpointName.safeParse(text).success) return text;
  context.addIssue({ code: 'custom', message: `'${text}' is neither a mark, GENERATION:EPOCH, nor a name` });
  return z.NEVER;
});

/** Why the number of an epoch says too little. */
export function bareNumber(number: string | number, allow: string): BlkfilterError {
  return new BlkfilterError({
    code: 'ERR_BLKFILTER_ARGUMENT',
    reason: `${number} is the number of an epoch, and each generation has one of that number`,
    hint: `give a mark, GENERATION:${number}, as a checkpoint returns it; or ${allow}, if it need not be the one that you mean`,
  });
}

/** The options that say since when, for schemas. */
export const sinceOptions = {
  since: z.union([mark, epoch], 'neither a mark, GENERATION:EPOCH, nor the number of an epoch'),
  anyGeneration: z.boolean().optional(),
};

/** Where to read from, as the kernel takes it: of any generation if that is undefined. */
export interface Start {
  generation: string | undefined;
  epoch: number;
}

/**
 * Where to read from.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` a number without `anyGeneration`, or a mark with it
 */
export function startOf({ since, anyGeneration = false }: { since: Mark | number; anyGeneration?: boolean | undefined }): Start {
  if (typeof since === 'number') {
    if (!anyGeneration) throw bareNumber(since, '`anyGeneration: true`');
    return { generation: undefined, epoch: since };
  }
  if (!anyGeneration) return markParts(since);
  throw new BlkfilterError({
    code: 'ERR_BLKFILTER_ARGUMENT',
    reason: `${since} is of one generation, and any is asked for`,
    hint: 'give either a mark, or the number of an epoch and `anyGeneration`',
  });
}
