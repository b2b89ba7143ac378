// SPDX-License-Identifier: MIT
import { z } from 'zod';

import { BlkfilterError } from '../errors.js';
import { ChangeBitmap, ExtentJoiner, type ExtentList } from '../extents.js';
import type { MissingMember } from '../members.js';
import { atOneMoment, type Frozen } from '../moment.js';
import { native } from '../native.js';
import { check, checkAnswer, extent, generation, rangeEndsExactly, signal, size, whole } from '../options.js';
import { SECTOR_SIZE, formatSize, type Extent } from '../units.js';
import { Filter } from './filter.js';

/** Extents that one call may return: 256 KiB of them, however many there are in all. */
const BATCH = 16_384;

const epoch = z.int().min(1);

const readOptions = z
  .strictObject({
    since: epoch,
    generation: generation.optional(),
    sector: whole.default(0),
    count: z.int().positive().optional(),
    signal: signal.optional(),
  })
  .refine(rangeEndsExactly, 'the range ends beyond any device');

export const checkpointOptions = z.strictObject({ freeze: z.boolean().optional() });

const infoAnswer = z.object({
  sectors: whole,
  blockSize: z.int().positive().multipleOf(SECTOR_SIZE),
  epoch,
  generation,
  gap: z.string(),
  memory: whole,
  overreported: whole,
});

const checkpointAnswer = z.object({ generation, epoch });

/** Options of `attach('cbt')`. */
export interface CbtOptions {
  /** What one cell of the map stands for: bytes or text like `64KiB`; a power of two from 4 KiB to 1 MiB; 64 KiB unless told. */
  blockSize?: number | string;
}

/** The state of tracking. */
export interface CbtInfo {
  /** Size of the device in sectors. */
  sectors: number;
  /** Bytes that one cell of the map stands for. */
  blockSize: number;
  /** The current epoch; the first is 1. */
  epoch: number;
  /** As long as it stays the same, tracking had no gap. */
  generation: string;
  /**
   * Why this generation began: `attached`; `bypassed`, because a request that no filter can see may have changed the disk;
   * `medium`, because the disk has got another medium.
   */
  gap: string;
  /** Bytes that the map holds. */
  memory: number;
  /** Times that a whole area had to be reported as changed because memory for its map could not be had. */
  overreported: number;
}

/** The start of an epoch. */
export interface Checkpoint {
  generation: string;
  /** What changes from now on is reported as changed since this epoch. */
  epoch: number;
}

/** How to take a checkpoint. */
export interface CheckpointOptions {
  /**
   * Freeze the file systems that are mounted on the device, or on what is built on it, while the epoch begins: what the disk
   * holds then is as clean as after an unmount.
   */
  freeze?: boolean;
}

/** A checkpoint for which file systems were to be frozen. */
export interface FrozenCheckpoint extends Checkpoint, Frozen {
  /**
   * Other devices that have a part of what lies on this one, such as of its file system: they have to be turned over in the
   * same window, by the function `checkpoint`.
   */
  missingMembers: MissingMember[];
}

/** What to read. */
export interface ChangesOptions {
  /** An epoch, 1 to the current one: what changed in it or later. */
  since: number;
  /** The generation that `since` was taken in; reading fails with `EGENERATION` when tracking had a gap since. */
  generation?: string;
  /** The first sector of interest; 0 unless told. */
  sector?: number;
  /** How many sectors; to the device's end unless told. */
  count?: number;
  /** Stops reading: the iteration then throws its reason. */
  signal?: AbortSignal;
}

/** A part of the answer. */
export interface ChangesBatch {
  generation: string;
  /** The current epoch when reading began. */
  epoch: number;
  /** In ascending order; may be empty. No two touch, in this batch or across batches. */
  extents: ExtentList;
  /** What was read so far goes up to this sector … */
  cursor: number;
  /** … of this one. */
  end: number;
}

/**
 * The changed extents, read from the kernel while they are iterated over, a bounded number at a time.
 * Ends are cut to the range that was asked for, so an extent is longer than what changed only by the rounding to blocks.
 */
export class Changes implements AsyncIterable<Extent> {
  readonly #tracker: ChangeTracker;
  readonly #options: z.output<typeof readOptions>;

  /** @internal */
  constructor(tracker: ChangeTracker, options: z.output<typeof readOptions>) {
    this.#tracker = tracker;
    this.#options = options;
  }

  /** The extents one by one, in ascending order; no two touch. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Extent, void> {
    for await (const { extents } of this.batches()) {
      for (const one of extents) {
        this.#options.signal?.throwIfAborted();
        yield one;
      }
    }
  }

  /**
   * The extents as the kernel gives them, thousands at a time. There is at least one batch.
   * @throws {BlkfilterError} `EGENERATION` tracking had a gap since the generation asked for, or while reading;
   *   `EINVAL` the epoch has not begun; `ENOENT` cbt is not attached; and the signal's reason
   */
  async *batches(): AsyncGenerator<ChangesBatch, void> {
    const { since, sector, count, signal } = this.#options;
    const joiner = new ExtentJoiner();
    let { generation } = this.#options;
    let cursor = sector;
    // The kernel takes 0 for the device's end, and answers where that is.
    let end = count === undefined ? 0 : sector + count;
    let epoch: number | undefined;
    do {
      signal?.throwIfAborted();
      const answer = await this.#tracker.readChanges(generation, since, cursor, end);
      signal?.throwIfAborted();
      if (answer.cursor <= cursor && answer.cursor < answer.end) {
        throw new BlkfilterError({ code: 'EPROTO', reason: `the kernel's cursor stays at sector ${cursor}` });
      }
      ({ generation, cursor, end } = answer);
      epoch ??= answer.epoch;
      const extents = joiner.push(answer.extents, cursor, cursor >= end);
      yield { generation, epoch, extents, cursor, end };
    } while (cursor < end);
  }
}

/**
 * Changed block tracking on a device. Time is numbered in epochs: tracking starts in epoch 1, a checkpoint ends one epoch
 * and starts the next, and any number of readers may ask what changed since the one they remember.
 */
export class ChangeTracker extends Filter {
  static override options() {
    const { blockSizeMin, blockSizeMax } = native().cbt;
    const fits = (bytes: number) => bytes >= blockSizeMin && bytes <= blockSizeMax && Number.isInteger(Math.log2(bytes));
    const message = `not a power of two from ${blockSizeMin} to ${blockSizeMax} bytes`;
    return z.strictObject({ blockSize: size.refine(fits, message).optional() });
  }

  /** @internal */
  override async configure({ blockSize }: { blockSize?: number }): Promise<void> {
    if (blockSize === undefined) return;
    await this.connection.call(this.name, (handle) => native().cbt.configure(handle, blockSize));
  }

  /**
   * The map is made once: other options are an error.
   * @internal
   */
  override async reconfigure({ blockSize }: { blockSize?: number }): Promise<void> {
    const now = (await this.info()).blockSize;
    if (blockSize === undefined || blockSize === now) return;
    const { path } = this.connection;
    throw new BlkfilterError({
      code: 'EBUSY',
      reason: `cbt is attached already, with blocks of ${formatSize(now)} and not of ${formatSize(blockSize)}`,
      hint: `to take the new size, which begins a new generation: \`blkfilter detach ${path} cbt\`, then again; or write the old one`,
      path,
    });
  }

  /**
   * The state of tracking.
   * @throws {BlkfilterError} `ENOENT` cbt is not attached; `ENODEV`
   */
  async info(): Promise<CbtInfo> {
    return checkAnswer(infoAnswer, await this.connection.call(this.name, (handle) => native().cbt.info(handle)), 'info');
  }

  /**
   * Ends the current epoch and starts the next. What changes after this is done is reported as changed since the new
   * epoch, whenever it was submitted.
   * @returns with `freeze` also which file systems were frozen, and which devices would have had to be
   * @throws {BlkfilterError} `EPERM`; `ENOENT` cbt is not attached; `ETIMEDOUT` the disk hangs, or was too slow for the
   *   minute that file systems are frozen at most, and then the epoch has begun; `EPROTO` what freezes was killed, likewise;
   *   `ENOTSUP` the I/O statistics of a device-mapper or RAID device are off;
   *   `ENODEV`; `ERR_BLKFILTER_ARGUMENT`
   */
  async checkpoint(options: CheckpointOptions & { freeze: true }): Promise<FrozenCheckpoint>;
  async checkpoint(options?: CheckpointOptions): Promise<Checkpoint>;
  async checkpoint(options: CheckpointOptions = {}): Promise<Checkpoint | FrozenCheckpoint> {
    if (!check(checkpointOptions, options, 'checkpoint').freeze) return this.#beginEpoch();
    const name = await this.connection.kernelName();
    const { result, missing, ...frozen } = await atOneMoment([name], { freeze: true }, () => this.#beginEpoch());
    return { ...result, ...frozen, missingMembers: missing.get(name) ?? [] };
  }

  async #beginEpoch(): Promise<Checkpoint> {
    const answer = await this.connection.call(this.name, (handle) => native().cbt.checkpoint(handle));
    return checkAnswer(checkpointAnswer, answer, 'checkpoint');
  }

  /**
   * What changed, as extents. Nothing is read before the iteration starts, and no more than it asks for.
   *
   *     for await (const { sector, count } of tracker.changes({ since: epoch, generation })) …
   *
   * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` at once; the kernel's errors while iterating, see {@link Changes}
   */
  changes(options: ChangesOptions): Changes {
    return new Changes(this, check(readOptions, options, 'changes'));
  }

  /**
   * What changed in a range, as one bit a block.
   * @param options as for {@link changes}; `sector` must be a multiple of the block size
   * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`; else as {@link Changes}
   */
  async bitmap(options: ChangesOptions): Promise<ChangeBitmap> {
    const { since, generation, sector, signal, ...range } = check(readOptions, options, 'bitmap');
    signal?.throwIfAborted();
    const { blockSize, sectors } = await this.info();
    signal?.throwIfAborted();
    const blockSectors = blockSize / SECTOR_SIZE;
    const count = range.count ?? sectors - sector;
    if (sector % blockSectors !== 0 || count <= 0 || sector + count > sectors) {
      throw new BlkfilterError({
        code: 'ERR_BLKFILTER_ARGUMENT',
        reason: `bitmap: sectors ${sector}-${sector + count - 1} do not start at a block or end beyond the device`,
        hint: `start at a multiple of ${blockSectors} sectors; the device has ${sectors}`,
        path: this.connection.path,
      });
    }
    const length = Math.ceil(count / blockSectors / 8);
    const answer = await this.#explained(since, () =>
      this.connection.call(this.name, (handle) =>
        native().cbt.bitmap(handle, generation ?? null, since, sector, count, length),
      ),
    );
    return new ChangeBitmap(answer.generation, answer.epoch, sector, count, blockSectors, answer.bits);
  }

  /**
   * Marks sectors as changed in the current epoch, as if they had been written.
   * @throws {BlkfilterError} `EINVAL` the extent ends beyond the device; `EPERM`; `ENOENT` cbt is not attached
   */
  async mark(what: Extent): Promise<void> {
    const { sector, count } = check(extent, what, 'mark');
    await this.connection.call(this.name, (handle) => native().cbt.mark(handle, sector, count));
  }

  /**
   * One bounded read.
   * @internal
   */
  async readChanges(generation: string | undefined, since: number, cursor: number, end: number) {
    return this.#explained(since, () =>
      this.connection.call(this.name, (handle) =>
        native().cbt.changes(handle, generation ?? null, since, cursor, end, BATCH),
      ),
    );
  }

  /** The kernel's EINVAL and ESTALE do not say what is the case now; the filter's state does. */
  async #explained<T>(since: number, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof BlkfilterError) || !['EINVAL', 'EGENERATION'].includes(error.code)) throw error;
      const now = await this.info().catch(() => {
        throw error;
      });
      if (error.code === 'EGENERATION') {
        throw error.reworded({
          reason: `tracking had a gap: a new generation, ${now.generation}, began because ${gapReasons[now.gap] ?? now.gap}`,
          hint: error.hint,
        });
      }
      if (since <= now.epoch) throw error;
      throw error.reworded({
        reason: `epoch ${since} has not begun, the current one is ${now.epoch}`,
        hint: 'pass an epoch that a checkpoint of this generation returned, or 1 for all since attaching',
      });
    }
  }
}

/** Why a generation began, by `CbtInfo.gap`. */
export const gapReasons: Record<string, string> = {
  attached: 'the filter was attached anew',
  bypassed: 'a request that no filter can see (SG_IO, NVMe passthrough) may have changed the disk',
  medium: 'the disk has got another medium',
};
