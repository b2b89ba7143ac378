// SPDX-License-Identifier: MIT
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';

import { readExtents } from '../copy/read.js';
import type { BlockDevice } from '../device.js';
import { BlkfilterError } from '../errors.js';
import { checkPlace, replaceFile } from '../files.js';
import type { ChangeTracker } from '../filters/cbt.js';
import { markOf, markParts, sinceOptions, startOf, type Mark, type Since } from '../mark.js';
import { check, signal } from '../options.js';
import { carries } from '../stack.js';
import { SECTOR_SIZE, type Extent } from '../units.js';
import { encode, type DiffRange } from './format.js';
import { nameOf } from './mark.js';

/** What a diff is to hold: either what changed since a mark, or all. */
export type DiffOptions = (Since | { full: true }) & {
  /** Stops it: the iteration then throws its reason. */
  signal?: AbortSignal;
};

const optionsSchema = z
  .strictObject({
    ...sinceOptions,
    since: sinceOptions.since.optional(),
    full: z.boolean().default(false),
    signal: signal.optional(),
  })
  .refine(({ since, full }) => (since === undefined) === full, 'either since a mark, or full')
  .refine(({ since, anyGeneration }) => since !== undefined || !anyGeneration, 'any generation goes with the number of an epoch');

/**
 * Begins a diff of a device that cbt tracks. A checkpoint is taken at once; the data are read when they are asked for.
 *
 *     const diff = await createDiff(disk, { since: mark });
 *     await diff.save('/backup/monday.diff');
 *     mark = diff.to;
 *
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`; `EGENERATION` tracking had a gap since that mark; `EINVAL` its epoch
 *   has not begun; `ENOENT` cbt is not attached; and as `ChangeTracker.checkpoint`
 */
export async function createDiff(device: BlockDevice, options: DiffOptions): Promise<Diff> {
  const { since, anyGeneration, signal } = check(optionsSchema, options, 'diff');
  const tracker = await device.filter('cbt');
  // A diff that cannot be made begins no epoch.
  const from = since === undefined ? undefined : await look(tracker, { since, anyGeneration } as Since);
  await device.flush();
  const { mark } = await tracker.checkpoint();
  return new Diff(device, tracker, from, mark, await device.sectors(), signal);
}

/**
 * Fails unless changes since then are known.
 * @returns the mark that it is since
 */
async function look(tracker: ChangeTracker, since: Since): Promise<Mark> {
  for await (const { generation } of tracker.changes({ ...since, count: 1 }).batches()) {
    return markOf({ generation, epoch: startOf(since).epoch });
  }
  throw new Error('there is at least one batch');
}

/**
 * Fails where a diff of the device cannot be saved, before it is begun.
 * @throws {BlkfilterError} as {@link Diff.save}, as far as that can be seen before
 */
export async function checkOutput(device: BlockDevice, path: string): Promise<void> {
  const file = await realpath(path).catch(() => path);
  const dev = await stat(dirname(file)).then((status) => status.dev, () => undefined);
  if (dev !== undefined && (await carries(await device.kernelName(), dev))) {
    const reason = `it lies on ${device.path} itself: the diff would change what it is made of`;
    throw new BlkfilterError({ code: 'EINVAL', reason, hint: 'write to another disk', path });
  }
  await checkPlace(path);
}

/** What changed on a device, as bytes in Ceph's format "rbd diff v1". */
export class Diff implements AsyncIterable<Buffer> {
  /** Bytes of data, of what was read so far. */
  copied = 0;
  /** Bytes that are zero, likewise. */
  zeroed = 0;
  readonly #device: BlockDevice;
  readonly #tracker: ChangeTracker;
  readonly #sectors: number;
  readonly #signal: AbortSignal | undefined;

  /** @internal Use {@link createDiff}. */
  constructor(
    device: BlockDevice,
    tracker: ChangeTracker,
    /** The mark that it builds on; none when it is of all. */
    readonly from: Mark | undefined,
    /** The mark that it leads to: the next diff is since this one. */
    readonly to: Mark,
    sectors: number,
    signal: AbortSignal | undefined,
  ) {
    this.#device = device;
    this.#tracker = tracker;
    this.#sectors = sectors;
    this.#signal = signal;
  }

  /** Bytes of the device when the diff began. */
  get size(): number {
    return this.#sectors * SECTOR_SIZE;
  }

  /**
   * Its bytes, in parts of up to 1 MiB. What they hold is read while they are iterated over, and may be newer than the
   * checkpoint: the next diff then holds it again.
   * @throws {BlkfilterError} `EGENERATION` tracking got a gap meanwhile; as `BlockDevice.read`; and the signal's reason
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    const from = this.from && nameOf(markParts(this.from));
    yield* encode({ from, to: nameOf(markParts(this.to)), size: this.size }, this.#ranges());
  }

  /**
   * Writes it to a file, which gets its name when all of it is there.
   * @throws {BlkfilterError} `EINVAL` it lies on the device itself; `EEXIST` and `EISDIR` it is no file; what the
   *   system says; and as iterating
   */
  async save(path: string): Promise<void> {
    await checkOutput(this.#device, path);
    await replaceFile(path, async (file) => {
      for await (const part of this) await file.writeFile(part);
    });
  }

  async *#ranges(): AsyncGenerator<DiffRange, void> {
    this.copied = 0;
    this.zeroed = 0;
    for await (const { sector, data, zero } of readExtents(this.#device, this.#extents(), { signal: this.#signal })) {
      if (zero) this.zeroed += data.length;
      else this.copied += data.length;
      yield { offset: sector * SECTOR_SIZE, length: data.length, ...(!zero && { data }) };
    }
    // The last data were read after the last changes.
    await look(this.#tracker, { since: this.to });
  }

  #extents(): AsyncIterable<Extent> | Iterable<Extent> {
    const all = { sector: 0, count: this.#sectors };
    if (all.count === 0) return [];
    if (!this.from) return [all];
    return this.#tracker.changes({ since: this.from, ...all, ...(this.#signal && { signal: this.#signal }) });
  }
}
