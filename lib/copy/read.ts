// SPDX-License-Identifier: MIT
import type { BlockDevice } from '../device.js';
import { SECTOR_SIZE, type Extent } from '../units.js';

/** Sectors in one read: 1 MiB, beyond which disks get no faster. */
const CHUNK = 2048;

/** Sectors of which it is told whether they are zero: 64 KiB, of which file systems make holes. */
const GRAIN = 128;

const zeros = Buffer.alloc(GRAIN * SECTOR_SIZE);

/** A part of what was read. */
export interface Piece extends Extent {
  data: Buffer;
  /** Whether all of it is zero. */
  zero: boolean;
}

/** Extents cut so that no part crosses a multiple of {@link CHUNK}. */
async function* chunksOf(extents: AsyncIterable<Extent> | Iterable<Extent>): AsyncGenerator<Extent, void> {
  for await (const { sector, count } of extents) {
    const end = sector + count;
    for (let at = sector; at < end; ) {
      const next = Math.min(end, (Math.floor(at / CHUNK) + 1) * CHUNK);
      yield { sector: at, count: next - at };
      at = next;
    }
  }
}

/** What was read in one go, as pieces that are zero and pieces that are not, in turns. */
export function* piecesOf(sector: number, data: Buffer): Generator<Piece, void> {
  const sectors = data.length / SECTOR_SIZE;
  const part = (from: number, to: number): Buffer => data.subarray(from * SECTOR_SIZE, to * SECTOR_SIZE);
  const isZero = (from: number): boolean => {
    const grain = part(from, Math.min(from + GRAIN, sectors));
    return grain.equals(zeros.subarray(0, grain.length));
  };
  for (let from = 0; from < sectors; ) {
    const zero = isZero(from);
    let to = from + GRAIN;
    while (to < sectors && isZero(to) === zero) to += GRAIN;
    to = Math.min(to, sectors);
    yield { sector: sector + from, count: to - from, data: part(from, to), zero };
    from = to;
  }
}

/**
 * Reads extents from the disk itself, past the page cache. While a part is used the next one is read.
 * @param extents in ascending order
 * @throws {BlkfilterError} as {@link BlockDevice.read}; what `extents` throws; and the signal's reason
 */
export async function* readExtents(
  device: BlockDevice,
  extents: AsyncIterable<Extent> | Iterable<Extent>,
  { signal }: { signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Piece, void> {
  const chunks = chunksOf(extents);
  const next = async () => {
    const { value: chunk, done } = await chunks.next();
    if (done) return undefined;
    return { sector: chunk.sector, data: await device.read(chunk.sector, chunk.count) };
  };
  const start = () => {
    const reading = next();
    // It may fail before anybody waits for it; whoever does is told.
    reading.catch(() => undefined);
    return reading;
  };
  let reading = start();
  try {
    for (;;) {
      const read = await reading;
      if (!read) return;
      signal?.throwIfAborted();
      reading = start();
      yield* piecesOf(read.sector, read.data);
    }
  } finally {
    // What is being read when nobody wants it any more.
    await reading.catch(() => undefined);
    await chunks.return();
  }
}
