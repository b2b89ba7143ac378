// SPDX-License-Identifier: MIT
import { randomUUID } from 'node:crypto';
import { resolve } from 'node:path';
import { z } from 'zod';

import type { Freeze } from '../freeze.js';
import type { Mark } from '../mark.js';
import { type MissingMember } from '../members.js';
import { atOneMoment, type Frozen } from '../moment.js';
import { check, signal, size } from '../options.js';
import { Pair, type ProgressListener, type SyncPair, type SyncProgress } from './pair.js';

/** What is left is small enough for the last pass, in which file systems may be frozen: bytes. */
const SMALL = 16 << 20;

/** Passes before the last one, at most: a source that changes as fast as it can be read never gets small. */
const PASSES = 12;

/** Last passes after which no source must have changed meanwhile, for the copies to be of one moment. */
const LAST_PASSES = { frozen: 3, live: 8 };

/** Options of {@link sync} for several devices. */
export interface SyncRunOptions {
  /** Freeze the file systems on the sources for the last pass; so unless told otherwise. */
  freeze?: boolean;
  /** Read both again at the end, and compare. */
  verify?: boolean;
  /** Copy everything, whatever the last run has left. */
  full?: boolean;
  /** What cbt tracks by, if it is not attached yet: see `CbtOptions`. */
  blockSize?: number | string;
  signal?: AbortSignal;
  /** Is told now and then; not while file systems are frozen. */
  onProgress?: (progress: SyncProgress) => void;
}

/** Options of {@link sync}. */
export interface SyncOptions extends SyncRunOptions {
  /** Where the state of the copy is kept, instead of beside it. */
  state?: string;
}

/** What became of a copy. */
export interface SyncCopy {
  source: string;
  target: string;
  mode: 'full' | 'incremental';
  /** Why all was copied, or since when the changes. */
  reason: string;
  /** The next run copies what changes since then. */
  mark: Mark;
  generation: string;
  epoch: number;
  passes: number;
  /** Bytes written as data. */
  copied: number;
  /** Bytes that are zero, and were made holes where that is possible. */
  zeroed: number;
  /**
   * The copy is what the source was at one moment, the same one for all copies of the run. If not, there are
   * `missingMembers`; or else a source was written to in the last pass all the time: the copy is a mixture of its last
   * moments, and the next run makes it good.
   */
  consistent: boolean;
  /** Other devices that have a part of what lies on the source, such as of its file system, and are not in the run. */
  missingMembers: MissingMember[];
  /** Bytes that were compared, and are the same. What changed after the copy cannot be, and was left out. */
  verified?: number;
}

/** What a run has done. */
export interface SyncRun extends Frozen {
  /** Its name. The state of each of its targets has it, so that it can be known which are of one moment. */
  run: string;
  /** All copies are consistent. */
  consistent: boolean;
  /** In the order of the pairs. */
  copies: [SyncCopy, ...SyncCopy[]];
}

/** What a run with one device has done. */
export type SyncResult = SyncCopy & Omit<SyncRun, 'copies'>;

const optionsSchema = z.strictObject({
  freeze: z.boolean().default(true),
  verify: z.boolean().default(false),
  full: z.boolean().default(false),
  state: z.string().min(1).optional(),
  blockSize: size.optional(),
  signal: signal.optional(),
  onProgress: z.custom<(progress: SyncProgress) => void>((value) => typeof value === 'function').optional(),
});
const runOptionsSchema = optionsSchema.omit({ state: true });
type RunOptions = z.output<typeof runOptionsSchema>;

const path = z.string().min(1);
const pairsSchema = z.array(z.strictObject({ source: path, target: path, state: path.optional() })).min(1);

/**
 * Makes files or devices the same as devices that are in use, and the next time only copies what changed.
 *
 * It copies in passes, each what changed during the one before, until little is left; then it freezes the file systems
 * on all sources, copies that, and thaws them. cbt is attached where it is not, and stays so, for the next run.
 * Cut off at any point, it leaves states from which the next run is right.
 *
 * Several devices are copied as they were at one and the same moment: those that a file system, a RAID or a volume lies
 * on belong into one run.
 * @param source the node of a disk or partition; or the devices, each with its target
 * @param target a file, made if there is none, or the node of another disk or partition
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`; `EBUSY` a target is in use; `ENOSPC` it is too small; `EINVAL` it is, or
 *   lies on, a source; `EVERIFY` the two differ; the errors of attaching, reading and writing; and the signal's reason.
 *   None of the targets is then called a copy
 */
export async function sync(source: string, target: string, options?: SyncOptions): Promise<SyncResult>;
export async function sync(pairs: SyncPair[], options?: SyncRunOptions): Promise<SyncRun>;
export async function sync(
  first: string | SyncPair[],
  second: string | SyncRunOptions = {},
  third: SyncOptions = {},
): Promise<SyncResult | SyncRun> {
  if (typeof first !== 'string') {
    return new Run(check(runOptionsSchema, second, 'sync')).of(check(pairsSchema, first, 'sync'));
  }
  const { state, ...options } = check(optionsSchema, third, 'sync');
  const pairs = check(pairsSchema, [{ source: first, target: second, state }], 'sync');
  return theOnly(await new Run(options).of(pairs));
}

/**
 * A run with one copy.
 * @internal
 */
export const theOnly = ({ copies, ...run }: SyncRun): SyncResult => ({ ...copies[0], ...run });

/** One run, from first pass to last, over all pairs. */
class Run {
  readonly #options: RunOptions;
  readonly #id = randomUUID();
  readonly #pairs: Pair[] = [];

  constructor(options: RunOptions) {
    this.#options = options;
  }

  /** The kernel's names of the sources. */
  get #names(): string[] {
    return this.#pairs.map(({ name }) => name);
  }

  async of(wanted: SyncPair[]): Promise<SyncRun> {
    try {
      await this.#open(wanted);
      // No target is written to before all are known to be in a run.
      for (const pair of this.#pairs) await pair.begin(this.#options.full);
      for (const pair of this.#pairs) await pair.keepBegun();
      try {
        return await this.#copy();
      } catch (error) {
        for (const pair of this.#pairs) await pair.keepCutOff(error);
        throw error;
      }
    } finally {
      for (const pair of this.#pairs) await pair.close();
    }
  }

  /** Opens all, or leaves nothing attached that was not. */
  async #open(wanted: SyncPair[]): Promise<void> {
    const { blockSize, signal } = this.#options;
    try {
      for (const pair of wanted) this.#pairs.push(await Pair.open(pair, blockSize, signal));
      for (const pair of this.#pairs) await pair.openTarget(this.#names);
    } catch (error) {
      for (const pair of this.#pairs) await pair.detach();
      throw error;
    }
  }

  async #copy(): Promise<SyncRun> {
    for (const pair of this.#pairs) await pair.pass(this.#options.onProgress);
    await this.#shrink();
    const { freeze, verify, onProgress } = this.#options;
    // That it was too slow is in the answer. What was written since is known, and says whether that did harm.
    const last = await atOneMoment(this.#names, { freeze, lateIsFine: true }, (frozen) => this.#settle(frozen));
    for (const pair of this.#pairs) await pair.flushTarget();
    const copies = new Map<Pair, SyncCopy>();
    for (const pair of this.#pairs) {
      const missingMembers = last.missing.get(pair.name) ?? [];
      copies.set(pair, {
        ...pair.result(),
        consistent: last.result && missingMembers.length === 0,
        missingMembers,
        ...(verify && { verified: await pair.verify(onProgress) }),
      });
    }
    await this.#keepDone(copies);
    const all = [...copies.values()] as SyncRun['copies'];
    const consistent = all.every((copy) => copy.consistent);
    return { run: this.#id, consistent, frozen: last.frozen, notFrozen: last.notFrozen, copies: all };
  }

  /** Passes until little is left. */
  async #shrink(): Promise<void> {
    let before = Infinity;
    for (let pass = 0; pass < PASSES; pass++) {
      const left = await this.#changed();
      // Frozen for the time that it takes to copy what gets no less is better than never.
      if (left <= SMALL || left > before / 2) break;
      before = left;
      for (const pair of this.#pairs) await pair.turnOver();
      for (const pair of this.#pairs) await pair.pass(this.#options.onProgress);
    }
  }

  /*
   * The last passes; gives whether the copies are of one moment. A pass copies what changed before its checkpoint. If
   * nothing changed on any source after its own, up to the end of all passes, then at the moment of the last checkpoint
   * every source held what its copy holds.
   */
  async #settle(freeze: Freeze | undefined): Promise<boolean> {
    // Whoever is told may write to what is frozen, and everybody would wait for that.
    const listener = freeze ? undefined : this.#options.onProgress;
    for (const pair of this.#pairs) await pair.flushSource();
    for (let left = freeze?.frozen.length ? LAST_PASSES.frozen : LAST_PASSES.live; left > 0; left--) {
      for (const pair of this.#pairs) await pair.turnOver();
      await this.#passes(listener);
      if ((await this.#changed()) === 0) return true;
    }
    return false;
  }

  /** A pass of each, all at once, because everybody waits. When one fails the others have ended, too. */
  async #passes(listener: ProgressListener): Promise<void> {
    const ends = await Promise.allSettled(this.#pairs.map((pair) => pair.pass(listener)));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** How many bytes the next passes would copy. */
  async #changed(): Promise<number> {
    let bytes = 0;
    for (const pair of this.#pairs) bytes += await pair.changed();
    return bytes;
  }

  /** Writes down where the targets are now. None is said to be consistent before all of them are there. */
  async #keepDone(copies: Map<Pair, SyncCopy>): Promise<void> {
    const targets = this.#pairs.map(({ wanted }) => resolve(wanted.target));
    const run = { id: this.#id, targets, consistent: false };
    for (const pair of copies.keys()) await pair.keepDone(run);
    for (const [pair, { consistent }] of copies) if (consistent) await pair.keepDone({ ...run, consistent });
  }
}
