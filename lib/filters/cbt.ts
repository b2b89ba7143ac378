// SPDX-License-Identifier: MIT
import { z } from 'zod';

import { BlkfilterError, explain } from '../errors.js';
import { ChangeBitmap, ExtentJoiner, type ExtentList } from '../extents.js';
import { checkpointName, epoch, markOf, markParts, markText, parseMark, sinceOptions, startOf } from '../mark.js';
import type { Mark, Since, Start } from '../mark.js';
import type { MissingMember } from '../members.js';
import { atOneMoment, type Frozen } from '../moment.js';
import { native } from '../native.js';
import { check, checkAnswer, extent, generation, rangeEndsExactly, signal, size, whole } from '../options.js';
import { SECTOR_SIZE, formatSize, type Extent } from '../units.js';
import { Filter } from './filter.js';
import { historyAnswer, type History } from './history.js';

export type { History, HistoryEntry } from './history.js';

/** Extents that one call may return: 256 KiB of them, however many there are in all. */
const BATCH = 16_384;

const readOptions = z
  .strictObject({
    ...sinceOptions,
    sector: whole.default(0),
    count: z.int().positive().optional(),
    signal: signal.optional(),
  })
  .refine(rangeEndsExactly, 'the range ends beyond any device');

export const checkpointOptions = z.strictObject({ freeze: z.boolean().optional(), name: checkpointName.optional() });

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
   * `medium`, because the disk has got another medium; `mapping`, because the device may stand for another place than
   * before; `hibernated`, because the machine was hibernated; `forked`, because the virtual machine was set back to an
   * earlier state, or copied, with its memory.
   */
  gap: string;
  /** Bytes that the map holds. */
  memory: number;
  /** Times that a whole area had to be reported as changed because memory for its map could not be had. */
  overreported: number;
}

/** The start of an epoch. */
export interface Checkpoint {
  /** What changes from now on is reported as changed since then. */
  mark: Mark;
  generation: string;
  epoch: number;
}

/** How to take a checkpoint. */
export interface CheckpointOptions {
  /**
   * Freeze the file systems that are mounted on the device, or on what is built on it, while the epoch begins: what the disk
   * holds then is as clean as after an unmount.
   */
  freeze?: boolean;
  /** Call it so, see {@link ChangeTracker.nameMark}. */
  name?: string;
}

/** A checkpoint for which file systems were to be frozen. */
export interface FrozenCheckpoint extends Checkpoint, Frozen {
  /**
   * Other devices that have a part of what lies on this one, such as of its file system: they have to be turned over in the
   * same window, by the function `checkpoint`.
   */
  missingMembers: MissingMember[];
}

/** What to read: what changed since then, and where. */
export type ChangesOptions = Since & {
  /** The first sector of interest; 0 unless told. */
  sector?: number;
  /** How many sectors; to the device's end unless told. */
  count?: number;
  /** Stops reading: the iteration then throws its reason. */
  signal?: AbortSignal;
};

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
  readonly #start: Start;

  /** @internal */
  constructor(tracker: ChangeTracker, options: z.output<typeof readOptions>) {
    this.#tracker = tracker;
    this.#options = options;
    this.#start = startOf(options);
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
   * @throws {BlkfilterError} `EGENERATION` tracking had a gap since the mark, or while reading;
   *   `EINVAL` the epoch has not begun; `ENOENT` cbt is not attached; and the signal's reason
   */
  async *batches(): AsyncGenerator<ChangesBatch, void> {
    const { sector, count, signal } = this.#options;
    const { epoch: since } = this.#start;
    const joiner = new ExtentJoiner();
    let { generation } = this.#start;
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
 * and starts the next, and any number of readers may ask what changed since the {@link Mark} that they remember.
 */
export class ChangeTracker extends Filter {
  static override options() {
    const { blockSizeMin, blockSizeMax } = native().cbt;
    const fits = (bytes: number) => bytes >= blockSizeMin && bytes <= blockSizeMax && Number.isInteger(Math.log2(bytes));
    const message = `not a power of two from ${blockSizeMin} to ${blockSizeMax} bytes`;
    return z.strictObject({ blockSize: size.refine(fits, message).optional() });
  }

  /** @internal */
  static override ruleOptions() {
    return this.options();
  }

  /** @internal */
  static override ruleWords({ blockSize }: { blockSize?: number }): string[] {
    return blockSize === undefined ? [] : [`block-size=${blockSize}`];
  }

  /** @internal */
  static override fromRuleWords([word = '']: string[]): CbtOptions & Record<string, unknown> {
    return { blockSize: Number(word.slice('block-size='.length)) };
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
   *   `ENODEV`; `ERR_BLKFILTER_ARGUMENT`; with `name`, as {@link nameMark}, and then the epoch has begun
   */
  async checkpoint(options: CheckpointOptions & { freeze: true }): Promise<FrozenCheckpoint>;
  async checkpoint(options?: CheckpointOptions): Promise<Checkpoint>;
  async checkpoint(options: CheckpointOptions = {}): Promise<Checkpoint | FrozenCheckpoint> {
    const { freeze, name } = check(checkpointOptions, options, 'checkpoint');
    const checkpoint = await (freeze ? this.#beginFrozen() : this.#beginEpoch());
    if (name !== undefined) await this.nameMark(checkpoint.mark, name);
    return checkpoint;
  }

  async #beginFrozen(): Promise<FrozenCheckpoint> {
    const name = await this.connection.kernelName();
    const { result, missing, ...frozen } = await atOneMoment([name], { freeze: true }, () => this.#beginEpoch());
    return { ...result, ...frozen, missingMembers: missing.get(name) ?? [] };
  }

  async #beginEpoch(): Promise<Checkpoint> {
    const answer = await this.connection.call(this.name, (handle) => native().cbt.checkpoint(handle));
    const parts = checkAnswer(checkpointAnswer, answer, 'checkpoint');
    return { mark: markOf(parts), ...parts };
  }

  /**
   * The epochs of this generation that the kernel keeps: those with a name, and at least the last 64 of the others. A
   * checkpoint that failed is not among them. A mark that is not listed any more is as good as before.
   * @throws {BlkfilterError} `ENOENT` cbt is not attached; `ENODEV`
   */
  async history(): Promise<History> {
    const answer = await this.connection.call(this.name, (handle) => native().cbt.history(handle));
    return checkAnswer(historyAnswer, answer, 'history');
  }

  /**
   * Gives the epoch that a mark stands for a name, by which {@link resolve} finds it. A name that another epoch has moves.
   * The kernel keeps it as long as the generation lasts, and 64 at most.
   *
   * Name a mark when what was copied since the one before is safe: whoever fails before that begins again from there.
   * @throws {BlkfilterError} `EGENERATION` tracking had a gap since that mark; `ENODATA` its epoch is not in the
   *   {@link history}; `EEXIST` it has another name; `ENOSPC` there are 64 names; `EPERM`; `ENOENT` cbt is not attached; `ERR_BLKFILTER_ARGUMENT`
   */
  async nameMark(mark: Mark, name: string): Promise<void> {
    const { generation, epoch } = markParts(parseMark(mark));
    const checked = check(checkpointName, name, 'name');
    await this.#explained(epoch, () =>
      this.connection.call(this.name, (handle) => native().cbt.name(handle, generation, epoch, checked)),
    );
  }

  /**
   * Takes a name away from the epoch that has it. Its mark is as good as before.
   * @throws {BlkfilterError} `ENODATA` none has it; `EPERM`; `ENOENT` cbt is not attached; `ERR_BLKFILTER_ARGUMENT`
   */
  async forgetName(name: string): Promise<void> {
    const checked = check(checkpointName, name, 'name');
    await this.connection.call(this.name, (handle) => native().cbt.forget(handle, checked));
  }

  /**
   * The mark that people mean by a text.
   * @param text a mark; one of which the generation is cut short, to 8 digits or more; or the name of an epoch
   * @throws {BlkfilterError} `EGENERATION` it is of another generation than the device's, or a name that no epoch of this
   *   one has: names end with their generation; `ERR_BLKFILTER_ARGUMENT` it is none of these
   */
  async resolve(text: string): Promise<Mark> {
    const asked = check(markText, text, 'since');
    const history = await this.history();
    const { generation, epochs } = history;
    if (typeof asked === 'string') {
      const entry = epochs.find(({ name }) => name === asked);
      if (entry) return entry.mark;
      throw this.#over(history, `no checkpoint of this generation is named '${asked}', and older names ended when `);
    }
    if (generation.startsWith(asked.generation)) return markOf({ generation, epoch: asked.epoch });
    throw this.#over(history);
  }

  /**
   * What changed, as extents. Nothing is read before the iteration starts, and no more than it asks for.
   *
   *     for await (const { sector, count } of tracker.changes({ since: mark })) …
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
    const { since, anyGeneration, sector, signal, ...range } = check(readOptions, options, 'bitmap');
    const { generation = null, epoch } = startOf({ since, anyGeneration });
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
    const answer = await this.#explained(epoch, () =>
      this.connection.call(this.name, (handle) =>
        native().cbt.bitmap(handle, generation, epoch, sector, count, length),
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
  async #explained<T>(epoch: number, make: () => Promise<T>): Promise<T> {
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof BlkfilterError) || !['EINVAL', 'EGENERATION'].includes(error.code)) throw error;
      const now = await this.info().catch(() => {
        throw error;
      });
      if (error.code === 'EGENERATION') throw error.reworded({ reason: gapOf(now), hint: error.hint });
      if (epoch <= now.epoch) throw error;
      throw error.reworded({
        reason: `epoch ${epoch} has not begun, the current one is ${now.epoch}`,
        hint: 'give a mark that a checkpoint of this generation returned; `blkfilter info` lists them',
      });
    }
  }

  /** Why a text stands for no mark of this generation. */
  #over(history: History, reason = ''): BlkfilterError {
    const { hint } = explain('BLKFILTER_CBT_CHANGES', 'ESTALE', { path: this.connection.path, coreLoaded: true });
    return new BlkfilterError({ code: 'EGENERATION', reason: reason + gapOf(history), hint, path: this.connection.path });
  }
}

/** What is the case when a generation is over. */
const gapOf = ({ generation, gap }: Pick<CbtInfo, 'generation' | 'gap'>): string =>
  `tracking had a gap: a new generation, ${generation}, began because ${gapReasons[gap] ?? gap}`;

/** Why a generation began, by `CbtInfo.gap`. */
export const gapReasons: Record<string, string> = {
  attached: 'the filter was attached anew',
  bypassed: 'a request that no filter can see (SG_IO, NVMe passthrough) may have changed the disk',
  medium: 'the disk has got another medium',
  mapping: 'the device may stand for another place than before (its table or its file was exchanged)',
  hibernated: 'the machine was hibernated',
  forked: 'the virtual machine was set back to an earlier state, or copied, with its memory',
};
