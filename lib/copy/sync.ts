// SPDX-License-Identifier: MIT
import { z } from 'zod';

import { open, type BlockDevice } from '../device.js';
import { BlkfilterError } from '../errors.js';
import { type ChangeTracker } from '../filters/cbt.js';
import { Freeze, type NotFrozen } from '../freeze.js';
import { markOf, type Mark } from '../mark.js';
import { check, signal, size } from '../options.js';
import { diskSequenceOf } from '../sysfs.js';
import { SECTOR_SIZE, type Extent } from '../units.js';
import { readExtents } from './read.js';
import { describe, mismatch, readState, statePath, writeState, type CopyState } from './state.js';
import { Target } from './target.js';
import { verify } from './verify.js';

/** What is left is small enough for the last pass, in which file systems may be frozen: bytes. */
const SMALL = 16 << 20;

/** Passes before the last one, at most: a source that changes as fast as it can be read never gets small. */
const PASSES = 12;

/** Last passes after which the source must not have changed meanwhile, for the copy to be of one moment. */
const LAST_PASSES = { frozen: 3, live: 8 };

/** How far a run has come. */
export interface SyncProgress {
  phase: 'copy' | 'verify';
  /** From 1. */
  pass: number;
  /** Bytes of this pass. */
  done: number;
  total: number;
}

/** Options of {@link sync}. */
export interface SyncOptions {
  /** Freeze the file systems on the source for the last pass; so unless told otherwise. */
  freeze?: boolean;
  /** Read both again at the end, and compare. */
  verify?: boolean;
  /** Copy everything, whatever the last run has left. */
  full?: boolean;
  /** Where the state of the copy is kept, instead of beside it. */
  state?: string;
  /** What cbt tracks by, if it is not attached yet: see `CbtOptions`. */
  blockSize?: number | string;
  signal?: AbortSignal;
  /** Is told now and then; not while file systems are frozen. */
  onProgress?: (progress: SyncProgress) => void;
}

/** What a run has done. */
export interface SyncResult {
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
  /** File systems that were frozen for the last pass. */
  frozen: string[];
  /** Those that were not, or not for all of it. */
  notFrozen: NotFrozen[];
  /**
   * The copy is what the source was at one moment, the beginning of `epoch`. If not, it was written to in the last pass
   * all the time: the copy is a mixture of its last moments, and the next run makes it good.
   */
  consistent: boolean;
  /** Bytes that were compared, and are the same. What changed after the copy cannot be, and was left out. */
  verified?: number;
}

const optionsSchema = z.strictObject({
  freeze: z.boolean().default(true),
  verify: z.boolean().default(false),
  full: z.boolean().default(false),
  state: z.string().min(1).optional(),
  blockSize: size.optional(),
  signal: signal.optional(),
  onProgress: z.custom<(progress: SyncProgress) => void>((value) => typeof value === 'function').optional(),
});

/**
 * Makes a file or device the same as a device that is in use, and the next time only copies what changed.
 *
 * It copies in passes, each what changed during the one before, until little is left; then it freezes the file systems
 * on the source, copies that, and thaws them. cbt is attached if it is not, and stays so, for the next run.
 * Cut off at any point, it leaves a state from which the next run is right.
 * @param source the node of a disk or partition
 * @param target a file, made if there is none, or the node of another disk or partition
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`; `EBUSY` the target is in use; `ENOSPC` it is too small; `EINVAL` it is, or
 *   lies on, the source; `EVERIFY` the two differ; the errors of attaching, reading and writing; and the signal's reason
 */
export async function sync(source: string, target: string, options: SyncOptions = {}): Promise<SyncResult> {
  const checked = check(optionsSchema, options, 'sync');
  await using device = await open(source);
  const attached = (await device.filters()).some(({ name }) => name === 'cbt');
  const tracker = attached
    ? await device.filter('cbt')
    : await device.attach('cbt', checked.blockSize === undefined ? {} : { blockSize: checked.blockSize });
  const bytes = await device.size();
  let opened;
  try {
    opened = await Target.open(target, { size: bytes, create: true, source: await device.kernelName() });
  } catch (error) {
    if (!attached) await tracker.detach();
    throw error;
  }
  try {
    return await new Run(device, tracker, opened, bytes / SECTOR_SIZE, checked).run();
  } finally {
    await opened.close();
  }
}

type Finish = Pick<SyncResult, 'epoch' | 'consistent' | 'frozen' | 'notFrozen'>;

interface Base {
  epoch: number | null;
  reason: string;
}

class Run {
  readonly #device: BlockDevice;
  readonly #tracker: ChangeTracker;
  readonly #target: Target;
  readonly #sectors: number;
  readonly #options: z.output<typeof optionsSchema>;
  readonly #statePath: string;
  #generation = '';
  #quiet = false;
  #passes = 0;

  constructor(
    device: BlockDevice,
    tracker: ChangeTracker,
    target: Target,
    sectors: number,
    options: z.output<typeof optionsSchema>,
  ) {
    this.#device = device;
    this.#tracker = tracker;
    this.#target = target;
    this.#sectors = sectors;
    this.#options = options;
    this.#statePath = statePath(target, options.state);
  }

  async run(): Promise<SyncResult> {
    const { blockSize } = await this.#tracker.info();
    const first = await this.#tracker.checkpoint();
    this.#generation = first.generation;
    const base = await this.#base(await readState(this.#statePath));
    const source = {
      path: this.#device.path,
      sectors: this.#sectors,
      diskSequence: await diskSequenceOf(`/sys/class/block/${await this.#device.kernelName()}`),
    };
    const keep = async (epoch: number | null, complete: boolean, writing = false): Promise<void> => {
      const state = { source, generation: this.#generation, epoch, blockSize, complete };
      await writeState(this.#statePath, await describe(this.#target, state, writing));
    };

    // Whatever this run writes from now on is copied again by the next one, if this one does not come to its end.
    await keep(base.epoch, false, true);
    let copied;
    try {
      copied = await this.#copy(base.epoch, first.epoch);
    } catch (error) {
      // What else is wrong with a copy that is not the same nobody knows.
      const worthless = error instanceof BlkfilterError && error.code === 'EVERIFY';
      // Else what was written down before is true as well: it only cannot tell what others write to the target from now on.
      await keep(worthless ? null : base.epoch, false).catch((unwritten: unknown) => {
        if (worthless) throw unwritten;
      });
      throw error;
    }
    await keep(copied.epoch, true);
    return {
      source: this.#device.path,
      target: this.#target.path,
      mode: base.epoch === null ? 'full' : 'incremental',
      reason: base.reason,
      mark: markOf({ generation: this.#generation, epoch: copied.epoch }),
      generation: this.#generation,
      passes: this.#passes,
      copied: this.#target.copied,
      zeroed: this.#target.zeroed,
      ...copied,
    };
  }

  /**
   * Copies all, or what changed.
   * @param base since when
   * @param begun the epoch that began with this run
   */
  async #copy(base: number | null, begun: number): Promise<Finish & Pick<SyncResult, 'verified'>> {
    await this.#pass(base ?? undefined);
    const last = await this.#finish(await this.#shrink(begun));
    if ((await this.#device.sectors()) !== this.#sectors) {
      throw new BlkfilterError({
        code: 'EAGAIN',
        reason: 'the source has got another size while it was copied',
        hint: 'run it again',
        path: this.#device.path,
      });
    }
    await this.#target.flush();
    return { ...last, ...(this.#options.verify && { verified: await this.#verify(last.epoch) }) };
  }

  /** Since when the changes are to be copied; or why all is. */
  async #base(state: CopyState | undefined): Promise<Base> {
    const all = (reason: string): Base => ({ epoch: null, reason });
    if (this.#options.full) return all('asked for');
    if (!this.#target.found) return all('there was no copy yet');
    if (!state) return all('nothing is known of what the target holds');
    const strange = mismatch(state, this.#target.found);
    if (strange) return all(strange);
    if (state.generation !== this.#generation) {
      const { gap } = await this.#tracker.info();
      return all(`changes since the last run are not known: a new generation of tracking began (${gap})`);
    }
    if (state.epoch === null) return all('the last full copy was not finished');
    const reason = `changes since epoch ${state.epoch}`;
    return { epoch: state.epoch, reason: state.complete ? reason : `${reason}: the last run was cut off` };
  }

  /** Passes until little is left. Gives the epoch since when. */
  async #shrink(since: number): Promise<number> {
    let before = Infinity;
    for (let pass = 0; pass < PASSES; pass++) {
      const left = await this.#changed(since);
      // Frozen for the time that it takes to copy what gets no less is better than never.
      if (left <= SMALL || left > before / 2) break;
      before = left;
      const { epoch } = await this.#tracker.checkpoint();
      await this.#pass(since);
      since = epoch;
    }
    return since;
  }

  /** The last passes. */
  async #finish(since: number): Promise<Finish> {
    const freeze = this.#options.freeze ? await Freeze.above(await this.#device.kernelName()) : undefined;
    this.#quiet = freeze !== undefined;
    let settled;
    try {
      settled = await this.#settle(since, freeze?.frozen.length ? LAST_PASSES.frozen : LAST_PASSES.live);
    } finally {
      this.#quiet = false;
      await freeze?.thaw().catch((error: unknown) => {
        // It was too slow, and that is in the answer. What was written since is known, and says whether that did harm.
        if (!(error instanceof BlkfilterError && error.code === 'ETIMEDOUT')) throw error;
      });
    }
    return { ...settled, frozen: freeze?.frozen ?? [], notFrozen: freeze?.failed ?? [] };
  }

  /*
   * A pass copies what changed before its checkpoint. If nothing changed after that, up to the pass's end, then every
   * block of the copy is what the source had at the checkpoint.
   */
  async #settle(since: number, tries: number): Promise<{ epoch: number; consistent: boolean }> {
    await this.#device.flush();
    for (let left = tries; left > 0; left--) {
      const { epoch } = await this.#tracker.checkpoint();
      await this.#pass(since);
      since = epoch;
      if ((await this.#changed(since)) === 0) return { epoch, consistent: true };
    }
    return { epoch: since, consistent: false };
  }

  /** What changed since an epoch; all, if that is undefined. */
  #extents(since: number | undefined): AsyncIterable<Extent> | Iterable<Extent> {
    const { signal } = this.#options;
    if (since === undefined) return [{ sector: 0, count: this.#sectors }];
    return this.#tracker.changes({
      since: markOf({ generation: this.#generation, epoch: since }),
      count: this.#sectors,
      ...(signal && { signal }),
    });
  }

  /** How many bytes that is. */
  async #changed(since: number | undefined): Promise<number> {
    let sectors = 0;
    for await (const { count } of this.#extents(since)) sectors += count;
    return sectors * SECTOR_SIZE;
  }

  async #pass(since: number | undefined): Promise<void> {
    const pass = ++this.#passes;
    // To say how much there is takes a reading of its own; whoever waits for frozen file systems need not wait for that.
    const listener = this.#quiet ? undefined : this.#options.onProgress;
    const report = this.#reporter('copy', pass, listener ? await this.#changed(since) : 0);
    for await (const { sector, data, zero } of readExtents(this.#device, this.#extents(since), this.#options)) {
      if (zero) {
        await this.#target.zero(sector * SECTOR_SIZE, data.length);
      } else {
        await this.#target.write(sector * SECTOR_SIZE, data);
      }
      report(data.length);
    }
  }

  #reporter(phase: SyncProgress['phase'], pass: number, total: number): (bytes: number) => void {
    let done = 0;
    const tell = (): void => {
      // What changes during a pass may be copied by it as well.
      if (!this.#quiet) this.#options.onProgress?.({ phase, pass, done, total: Math.max(done, total) });
    };
    tell();
    return (bytes) => {
      done += bytes;
      tell();
    };
  }

  async #verify(epoch: number): Promise<number> {
    await this.#target.forget();
    const all = { sector: 0, count: this.#sectors };
    const report = this.#reporter('verify', this.#passes, all.count * SECTOR_SIZE);
    const { bytes, differences } = await verify(
      this.#target,
      readExtents(this.#device, [all], this.#options),
      () => this.#extents(epoch),
      report,
    );
    if (differences.length === 0) return bytes;
    const [{ sector, count } = all] = differences;
    throw new BlkfilterError({
      code: 'EVERIFY',
      reason: `the copy differs from the source in ${differences.length} places, the first at sector ${sector} (${count} sectors)`,
      hint: 'the target, or what leads to it, loses data: `dmesg` may tell. The next run copies everything',
      path: this.#target.path,
    });
  }
}
