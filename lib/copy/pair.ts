// SPDX-License-Identifier: MIT
import { open, type BlockDevice } from '../device.js';
import { BlkfilterError } from '../errors.js';
import type { ChangeTracker } from '../filters/cbt.js';
import { markOf } from '../mark.js';
import { diskSequenceOf } from '../sysfs.js';
import { SECTOR_SIZE, type Extent } from '../units.js';
import { readExtents } from './read.js';
import { describe, mismatch, readState, statePath, writeState, type CopyState } from './state.js';
import { Target } from './target.js';
import { verify } from './verify.js';

/** How far a run has come. */
export interface SyncProgress {
  source: string;
  phase: 'copy' | 'verify';
  /** From 1. */
  pass: number;
  /** Bytes of this pass. */
  done: number;
  total: number;
}

/** A device, and what is to become the same. */
export interface SyncPair {
  /** The node of a disk or partition. */
  source: string;
  /** A file, made if there is none, or the node of another disk or partition. */
  target: string;
  /** Where the state of the copy is kept, instead of beside it. */
  state?: string | undefined;
}

/** What is told of it, if anybody wants to know. */
export type ProgressListener = ((progress: SyncProgress) => void) | undefined;

/** Where the changes are to be copied from on. */
interface Base {
  epoch: number | null;
  /** Why all is copied, or since when the changes. */
  reason: string;
}

/** A source and its target, and how far the one is a copy of the other. */
export class Pair {
  readonly #device: BlockDevice;
  readonly #tracker: ChangeTracker;
  readonly #attached: boolean;
  readonly #sectors: number;
  readonly #signal: AbortSignal | undefined;
  #target!: Target;
  #statePath!: string;
  #source: CopyState['source'];
  #blockSize = 0;
  #generation = '';
  #base: Base = { epoch: null, reason: '' };
  /** The next pass copies what changed in this epoch or later; undefined: all. */
  #since: number | undefined;
  /** The epoch that began last. */
  #epoch = 0;
  #passes = 0;

  private constructor(
    readonly wanted: SyncPair,
    /** The kernel's name of the source. */
    readonly name: string,
    device: BlockDevice,
    tracker: ChangeTracker,
    attached: boolean,
    sectors: number,
    signal: AbortSignal | undefined,
  ) {
    this.#device = device;
    this.#tracker = tracker;
    this.#attached = attached;
    this.#sectors = sectors;
    this.#signal = signal;
  }

  /** Opens a source, and attaches cbt to it if it is not. */
  static async open(wanted: SyncPair, blockSize?: number, signal?: AbortSignal): Promise<Pair> {
    const device = await open(wanted.source);
    try {
      const name = await device.kernelName();
      const known = (await device.filters()).some((filter) => filter.name === 'cbt');
      const tracker = known
        ? await device.filter('cbt')
        : await device.attach('cbt', blockSize === undefined ? {} : { blockSize });
      return new Pair(wanted, name, device, tracker, !known, await device.sectors(), signal);
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /**
   * Opens its target.
   * @param sources the kernel's names of all sources of the run
   */
  async openTarget(sources: string[]): Promise<void> {
    const { target, state } = this.wanted;
    this.#target = await Target.open(target, { size: this.#sectors * SECTOR_SIZE, create: true, sources });
    this.#statePath = statePath(this.#target, state);
  }

  /** Takes cbt off again, if it was attached for this. */
  async detach(): Promise<void> {
    if (this.#attached) await this.#tracker.detach();
  }

  async close(): Promise<void> {
    await (this.#target as Target | undefined)?.close();
    await this.#device.close();
  }

  /** Begins the epoch that the first pass leads to, and finds out what that has to copy: nothing is written yet. */
  async begin(full: boolean): Promise<void> {
    const { blockSize } = await this.#tracker.info();
    const { generation, epoch } = await this.#tracker.checkpoint();
    const diskSequence = await diskSequenceOf(`/sys/class/block/${this.name}`);
    this.#source = { path: this.#device.path, sectors: this.#sectors, diskSequence };
    this.#blockSize = blockSize;
    this.#generation = generation;
    this.#epoch = epoch;
    this.#base = await this.#baseOf(await readState(this.#statePath), full);
    this.#since = this.#base.epoch ?? undefined;
  }

  /** Since when the changes are to be copied; or why all is. */
  async #baseOf(state: CopyState | undefined, full: boolean): Promise<Base> {
    const all = (reason: string): Base => ({ epoch: null, reason });
    if (full) return all('asked for');
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

  /** Writes down that a run writes to the target: whatever that is from now on, the next run copies it again. */
  async keepBegun(): Promise<void> {
    await this.#keep({ epoch: this.#base.epoch, complete: false }, true);
  }

  /** Writes down that the run has ended before its end. */
  async keepCutOff(error: unknown): Promise<void> {
    // What else is wrong with a copy that is not the same nobody knows.
    const worthless = error instanceof BlkfilterError && error.code === 'EVERIFY' && error.path === this.wanted.target;
    await this.#keep({ epoch: worthless ? null : this.#base.epoch, complete: false }).catch((unwritten: unknown) => {
      // Else what was written down before is true as well: it only cannot tell what others write to the target from now on.
      if (worthless) throw unwritten;
    });
  }

  /** Writes down where the target is now, and by which run. */
  async keepDone(run: CopyState['run']): Promise<void> {
    await this.#keep({ epoch: this.#since ?? null, complete: true, run });
  }

  async #keep(at: Pick<CopyState, 'epoch' | 'complete' | 'run'>, writing = false): Promise<void> {
    const state = { source: this.#source, generation: this.#generation, blockSize: this.#blockSize, ...at };
    await writeState(this.#statePath, await describe(this.#target, state, writing));
  }

  /** Begins an epoch: the next pass copies what changed before. */
  async turnOver(): Promise<void> {
    this.#epoch = (await this.#tracker.checkpoint()).epoch;
  }

  /** Writes out what was written to the source's own node. */
  async flushSource(): Promise<void> {
    await this.#device.flush();
  }

  /** Copies what changed since the last pass, or all. */
  async pass(listener: ProgressListener): Promise<void> {
    const extents = this.#extents(this.#since);
    // Nobody waits for the sum if nobody is told.
    const report = this.#reporter(listener, 'copy', ++this.#passes, listener ? await this.changed() : 0);
    for await (const { sector, data, zero } of readExtents(this.#device, extents, { signal: this.#signal })) {
      if (zero) {
        await this.#target.zero(sector * SECTOR_SIZE, data.length);
      } else {
        await this.#target.write(sector * SECTOR_SIZE, data);
      }
      report(data.length);
    }
    this.#since = this.#epoch;
  }

  /** How many bytes the next pass would copy. */
  async changed(): Promise<number> {
    let sectors = 0;
    for await (const { count } of this.#extents(this.#since)) sectors += count;
    return sectors * SECTOR_SIZE;
  }

  /** Makes what was copied safe. */
  async flushTarget(): Promise<void> {
    if ((await this.#device.sectors()) !== this.#sectors) {
      throw new BlkfilterError({
        code: 'EAGAIN',
        reason: 'the source has got another size while it was copied',
        hint: 'run it again',
        path: this.#device.path,
      });
    }
    await this.#target.flush();
  }

  /** Compares the two; gives how many bytes are the same. */
  async verify(listener: ProgressListener): Promise<number> {
    await this.#target.forget();
    const all = { sector: 0, count: this.#sectors };
    const { bytes, differences } = await verify(
      this.#target,
      readExtents(this.#device, [all], { signal: this.#signal }),
      () => this.#extents(this.#since),
      this.#reporter(listener, 'verify', this.#passes, all.count * SECTOR_SIZE),
    );
    if (differences.length === 0) return bytes;
    const [{ sector, count } = all] = differences;
    throw new BlkfilterError({
      code: 'EVERIFY',
      reason: `the copy differs from the source in ${differences.length} places, the first at sector ${sector} (${count} sectors)`,
      hint: 'the target, or what leads to it, loses data: `dmesg` may tell. The next run copies everything',
      path: this.wanted.target,
    });
  }

  /** What became of it. */
  result() {
    return {
      source: this.wanted.source,
      target: this.wanted.target,
      mode: this.#base.epoch === null ? ('full' as const) : ('incremental' as const),
      reason: this.#base.reason,
      mark: markOf({ generation: this.#generation, epoch: this.#epoch }),
      generation: this.#generation,
      epoch: this.#epoch,
      passes: this.#passes,
      copied: this.#target.copied,
      zeroed: this.#target.zeroed,
    };
  }

  /** What changed since an epoch; all, if that is undefined. */
  #extents(since: number | undefined): AsyncIterable<Extent> | Iterable<Extent> {
    if (since === undefined) return [{ sector: 0, count: this.#sectors }];
    return this.#tracker.changes({
      since: markOf({ generation: this.#generation, epoch: since }),
      count: this.#sectors,
      ...(this.#signal && { signal: this.#signal }),
    });
  }

  #reporter(
    listener: ProgressListener,
    phase: SyncProgress['phase'],
    pass: number,
    total: number,
  ): (bytes: number) => void {
    let done = 0;
    const tell = (): void => {
      // What changes during a pass may be copied by it as well.
      listener?.({ source: this.#device.path, phase, pass, done, total: Math.max(done, total) });
    };
    tell();
    return (bytes) => {
      done += bytes;
      tell();
    };
  }
}
