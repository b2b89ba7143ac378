// SPDX-License-Identifier: MIT
// Checks of what comes from outside.
import { z } from 'zod';

import { BlkfilterError } from './errors.js';
import { native } from './native.js';
import { parseDuration, parseSize } from './units.js';

/** A sector number, a count or an epoch: exact, so a safe integer. */
export const whole = z.int().nonnegative();

/** A number, or text that `parse` reads. */
const numberOrText = (parse: (text: string) => number) =>
  z
    .union([z.number(), z.string()])
    .transform((given, context) => {
      try {
        return typeof given === 'string' ? parse(given) : given;
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as BlkfilterError).reason });
        return z.NEVER;
      }
    })
    .pipe(whole);

/** Bytes, as a number or as text that {@link parseSize} reads. */
export const size = numberOrText(parseSize);

/** Milliseconds, as a number or as text that {@link parseDuration} reads. */
export const duration = numberOrText(parseDuration);

/** A generation's UUID. All zero would mean "any" to the kernel, and switch the check off unnoticed. */
export const generation = z
  .string()
  .regex(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i, 'not a UUID')
  .refine((uuid) => /[^0-]/.test(uuid), 'the nil UUID is no generation')
  .transform((uuid) => uuid.toLowerCase());

export const rangeEndsExactly = ({ sector, count }: { sector: number; count?: number | undefined }): boolean =>
  Number.isSafeInteger(sector + (count ?? 0));

export const extent = z
  .strictObject({ sector: whole, count: z.int().positive() })
  .refine(rangeEndsExactly, 'the extent ends beyond any device');

export const signal = z.instanceof(AbortSignal);

/** A filter's name: what fits into the kernel's field, which need not be terminated. */
export const filterName = z
  .string()
  .regex(/^[^\0\n ]+$/, 'not a filter name')
  .refine((name) => Buffer.byteLength(name) <= native().filterNameLength, {
    error: () => `longer than ${native().filterNameLength} bytes`,
  });

function known(schema: z.ZodType): string | undefined {
  if (!(schema instanceof z.ZodObject)) return undefined;
  const names = Object.keys(schema.shape);
  return names.length ? `known options: ${names.join(', ')}` : 'it takes no options';
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'unrecognized_keys') return issue.message;
  return `unknown option ${issue.keys.map((k) => `'${k}'`).join(', ')}`;
}

const complaints = (error: z.ZodError, what: string): string =>
  error.issues.map((issue) => `${[what, ...issue.path.map(String)].join('.')}: ${describe(issue)}`).join('; ');

/**
 * Checks an option or argument.
 * @param what what the value is, for the message
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`, which names each option that is wrong
 */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const reason = complaints(result.error, what);
  throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: known(schema) });
}

/**
 * Checks an answer.
 * @param what what was asked, for the message
 * @throws {BlkfilterError} `EPROTO`
 */
export function checkAnswer<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new BlkfilterError({
    code: 'EPROTO',
    reason: `an answer that makes no sense: ${complaints(result.error, what)}`,
    hint: 'package and modules may be of different versions: `blkfilter doctor` tells',
  });
}

/** For a schema of something that has options of a filter in it: what is wrong with those. */
export function refineOptions(schema: z.ZodType, options: unknown, context: z.RefinementCtx): void {
  const result = schema.safeParse(options ?? {});
  if (result.success) return;
  for (const issue of result.error.issues) {
    context.addIssue({ code: 'custom', path: ['options', ...issue.path], message: describe(issue) });
  }
}
