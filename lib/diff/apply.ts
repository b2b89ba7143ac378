// SPDX-License-Identifier: MIT
import { stat } from 'node:fs/promises';
import { inspect } from 'node:util';
import { z } from 'zod';

import { describe, mismatch, readState, statePath, writeState, type CopyState } from '../copy/state.js';
import { Target, type TargetIdentity } from '../copy/target.js';
import { BlkfilterError } from '../errors.js';
import { removeFile } from '../files.js';
import { markOf, type Mark, type MarkParts } from '../mark.js';
import { check, signal } from '../options.js';
import { damaged, type DiffHeader, type DiffReader } from './format.js';
import { FileInput, StreamInput, type Input } from './input.js';
import { partsNamed } from './mark.js';
import { inFile, openDiff, readerOf } from './open.js';

/** Where a diff comes from: a file's path, or its bytes. */
export type DiffSource = string | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Options of {@link applyDiff}. */
export interface ApplyOptions {
  /** Apply it whatever the target is known to hold. */
  force?: boolean;
  /** Where the state of the target is kept, instead of beside it. */
  state?: string;
  signal?: AbortSignal;
}

/** What was applied. */
export interface ApplyResult {
  target: string;
  /** The mark that the diff builds on; null when it is of all, or was not made by this package. */
  since: Mark | null;
  /** Where the target is now; null when the diff was not made by this package. */
  mark: Mark | null;
  /** Bytes of the device that the diff is of. */
  size: number;
  /** Bytes written as data. */
  copied: number;
  /** Bytes that are zero, and were made holes where that is possible. */
  zeroed: number;
}

const optionsSchema = z.strictObject({
  force: z.boolean().default(false),
  state: z.string().min(1).optional(),
  signal: signal.optional(),
});

/**
 * Applies a diff to a file or device that is where the diff begins; one of all is applied to any, and to a new file.
 *
 * Nothing is written before the diff and the target are known to fit each other. A diff in a file is looked at up to
 * its end before that; one in a stream may turn out to be cut off when a part of it was applied. It can then be applied
 * again from its start, as after any failure.
 * @param source the path of a diff, or its bytes
 * @param target a file, or the node of a disk or partition
 * @throws {BlkfilterError} `EDIFF` the diff is damaged or cut off; `EMARK` the target is not where the diff begins;
 *   `ENOENT`; `EBUSY` the target is in use; `ENOSPC` it is too small; `EINVAL` it is the diff; `EPROTO` its state is
 *   damaged; `ERR_BLKFILTER_ARGUMENT`; the errors of reading and writing; and the signal's reason
 */
export async function applyDiff(source: DiffSource, target: string, options: ApplyOptions = {}): Promise<ApplyResult> {
  const checked = check(optionsSchema, options, 'apply');
  const input = typeof source === 'string' ? await openDiff(source) : new StreamInput(source);
  try {
    const reader = await readerOf(input);
    const marks = marksOf(reader.header);
    const opened = await openTarget(target, reader.header, input);
    try {
      return await new Application(reader, marks, opened, checked).run();
    } finally {
      await opened.close();
    }
  } catch (error) {
    throw typeof source === 'string' ? inFile(error, source) : error;
  } finally {
    await input.close();
  }
}

/** The states that a diff leads from and to. */
interface Marks {
  /** Undefined when it is of all; null when the name is none of ours. */
  from: MarkParts | null | undefined;
  /** Undefined when there is no name, or another one. */
  to: MarkParts | undefined;
  /** What it builds on, in words. */
  basis: string;
}

/** A mark in words. */
const inWords = ({ generation, epoch }: MarkParts): string => `epoch ${epoch} of generation ${generation}`;

function marksOf({ from, to }: DiffHeader): Marks {
  const begin = from === undefined ? undefined : (partsNamed(from) ?? null);
  const end = to === undefined ? undefined : partsNamed(to);
  if (begin && end && (begin.generation !== end.generation || begin.epoch >= end.epoch)) {
    throw damaged(0, `it leads from ${inWords(begin)} to ${inWords(end)}, which does not follow it`);
  }
  const basis = begin ? inWords(begin) : `${inspect(from)}, which no diff of this package leads to`;
  return { from: begin, to: end, basis: `the diff builds on ${basis}` };
}

async function openTarget(path: string, { from, size }: DiffHeader, diff: Input): Promise<Target> {
  const status = await stat(path, { bigint: true }).catch(() => undefined);
  if (status && diff instanceof FileInput && (await diff.is(status))) {
    throw new BlkfilterError({ code: 'EINVAL', reason: 'it is the diff itself', hint: 'name another target', path });
  }
  if (!status && from !== undefined) {
    throw new BlkfilterError({
      code: 'ENOENT',
      reason: `there is no target, and the diff builds on ${inspect(from)}`,
      hint: 'make it with a diff of all (`blkfilter diff DEV --full`), or with `blkfilter sync`',
      path,
    });
  }
  return Target.open(path, { size, create: true, resize: false });
}

/**
 * Why a diff cannot be applied; undefined when it can.
 * @param state what is known of the target
 * @param found what the target is, if it was there
 */
function misfit({ from, to, basis }: Marks, state?: CopyState, found?: TargetIdentity): string | undefined {
  if (from === undefined) return undefined;
  if (!state || !found) return `nothing is known of what the target holds, and ${basis}`;
  const strange = mismatch(state, found);
  if (strange !== undefined) return `${strange}, and ${basis}`;
  const { generation, epoch, pending } = state;
  if (epoch === null) return `the target holds a part of a copy of all, and ${basis}`;
  const at = inWords({ generation, epoch });
  if (from?.generation !== generation || from.epoch !== epoch) {
    const already = to?.generation === generation && to.epoch === epoch ? ': it has been applied already' : '';
    return `the target is at ${at}, and ${basis}${already}`;
  }
  // What a part of a diff has changed, one that leads further changes too; one that leads less far may not.
  if (pending !== undefined && (to?.epoch ?? 0) < pending) {
    return `a diff from ${at} to epoch ${pending} was applied in part, and this one does not lead so far`;
  }
  return undefined;
}

/** Writes down where a target is, and whether it is about to be written to. */
type Keep = (at: Pick<CopyState, 'epoch' | 'pending'>, writing?: boolean) => Promise<void>;

/** The way from one state of a target to the next. */
class Application {
  readonly #reader: DiffReader;
  readonly #marks: Marks;
  readonly #target: Target;
  readonly #options: z.output<typeof optionsSchema>;
  readonly #statePath: string;
  /** Bytes of the target that are done. */
  #done = 0;

  constructor(reader: DiffReader, marks: Marks, target: Target, options: z.output<typeof optionsSchema>) {
    this.#reader = reader;
    this.#marks = marks;
    this.#target = target;
    this.#options = options;
    this.#statePath = statePath(target, options.state);
  }

  async run(): Promise<ApplyResult> {
    const { from, to } = this.#marks;
    const known = await this.#known();
    const keep = await this.#keeper(known);
    const begin = { epoch: from?.epoch ?? null, pending: to?.epoch };
    await keep(begin, true);
    try {
      await this.#target.resize();
      await this.#write();
      await this.#target.flush();
    } catch (error) {
      // What was written down before is true as well: it only cannot tell what others write to the target from now on.
      await keep(begin).catch(() => undefined);
      throw this.#options.signal?.aborted ? error : this.#cutOff(error);
    }
    await keep({ epoch: to?.epoch ?? null });
    return {
      target: this.#target.path,
      since: from ? markOf(from) : null,
      mark: to ? markOf(to) : null,
      size: this.#reader.header.size,
      copied: this.#target.copied,
      zeroed: this.#target.zeroed,
    };
  }

  /** The target's state, if the diff fits it. */
  async #known(): Promise<CopyState | undefined> {
    // By force a state that is damaged is as good as none.
    const { force } = this.#options;
    const known = await readState(this.#statePath).catch((error: unknown) => {
      if (!force) throw error;
      return undefined;
    });
    const wrong = force ? undefined : misfit(this.#marks, known, this.#target.found);
    if (wrong === undefined) return known;
    throw new BlkfilterError({
      code: 'EMARK',
      reason: wrong,
      hint: 'apply diffs in their order, the first one of all (`blkfilter diff DEV --full`); or by force (`--force`)',
      path: this.#target.path,
    });
  }

  /** Gives what writes the state down. Without it a target is one of which nothing is known. */
  async #keeper(known: CopyState | undefined): Promise<Keep> {
    const { from, to } = this.#marks;
    if (!to || from === null) {
      await removeFile(this.#statePath);
      return () => Promise.resolve();
    }
    const { source, blockSize } = known?.generation === to.generation ? known : {};
    return async ({ epoch, pending }, writing = false) => {
      const state = { source, generation: to.generation, epoch, blockSize, complete: pending === undefined, pending };
      await writeState(this.#statePath, await describe(this.#target, state, writing));
    };
  }

  async #write(): Promise<void> {
    for await (const { offset, length, data } of this.#reader.ranges()) {
      this.#options.signal?.throwIfAborted();
      await this.#pass(offset);
      if (data) {
        await this.#target.write(offset, data);
      } else {
        await this.#target.zero(offset, length);
      }
      this.#done = offset + length;
    }
    await this.#pass(this.#reader.header.size);
  }

  /** Passes over what the diff says nothing of: it stays as it is, or when the diff builds on nothing, is zero. */
  async #pass(end: number): Promise<void> {
    if (this.#marks.from === undefined && end > this.#done) {
      await this.#target.zero(this.#done, end - this.#done);
    }
    this.#done = end;
  }

  /** The error with how far it came. */
  #cutOff(error: unknown): unknown {
    const { code } = error as NodeJS.ErrnoException;
    if (!(error instanceof Error) || code === undefined) return error;
    const did = `${this.#target.copied} bytes of data and ${this.#target.zeroed} of zeroes`;
    const words = `applied to the first ${this.#done} bytes of the target (${did}), and no further: `;
    const hint = 'apply it again from its start; or one that is made anew, since the same epoch';
    if (error instanceof BlkfilterError) return error.reworded({ reason: `${words}${error.reason}`, hint });
    const reason = `${words}${error.message.replace(`${code}: `, '')}`;
    return new BlkfilterError({ code, reason, hint, cause: error });
  }
}
