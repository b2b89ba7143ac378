// SPDX-License-Identifier: MIT
import { SECTOR_SIZE, type Extent } from '../units.js';
import type { Piece } from './read.js';
import type { Target } from './target.js';

/** Sectors of the smallest block that changes are known by. */
const BLOCK = 8;

/** What a comparison gave. */
export interface Comparison {
  /** That are the same. */
  bytes: number;
  /** Where they are not, though the source did not change there. */
  differences: Extent[];
}

/** What of `extents` no extent of `others` covers; both ascending, and none touching another. */
async function without(extents: Extent[], others: AsyncIterable<Extent> | Iterable<Extent>): Promise<Extent[]> {
  const left: Extent[] = [];
  const waiting = [...extents];
  for await (const other of others) {
    const otherEnd = other.sector + other.count;
    for (let one = waiting[0]; one && one.sector < otherEnd; one = waiting[0]) {
      waiting.shift();
      const end = one.sector + one.count;
      if (one.sector < other.sector) {
        left.push({ sector: one.sector, count: Math.min(end, other.sector) - one.sector });
      }
      if (end > otherEnd) waiting.unshift({ sector: otherEnd, count: end - otherEnd });
    }
  }
  return [...left, ...waiting];
}

/** Where two buffers differ, in blocks that begin at a multiple of {@link BLOCK}. */
function* differing(sector: number, data: Buffer, copy: Buffer): Generator<Extent, void> {
  for (let from = 0; from < data.length; ) {
    const to = Math.min(data.length, from + (BLOCK - ((sector + from / SECTOR_SIZE) % BLOCK)) * SECTOR_SIZE);
    // What a copy that has got smaller lacks differs too.
    if (!data.subarray(from, to).equals(copy.subarray(from, to))) {
      yield { sector: sector + from / SECTOR_SIZE, count: (to - from) / SECTOR_SIZE };
    }
    from = to;
  }
}

/**
 * Compares a target with what is read of the source.
 * @param pieces of the source
 * @param changes gives what changed in the source since the target was made: asked when all was compared, so that whatever
 *   changed before a piece was read is among it
 * @param report is told how many bytes were compared
 */
export async function verify(
  target: Target,
  pieces: AsyncIterable<Piece>,
  changes: () => AsyncIterable<Extent> | Iterable<Extent>,
  report: (bytes: number) => void,
): Promise<Comparison> {
  const different: Extent[] = [];
  let bytes = 0;
  for await (const { sector, data } of pieces) {
    const copy = await target.read(sector * SECTOR_SIZE, data.length);
    bytes += data.length;
    if (!copy.equals(data)) {
      for (const block of differing(sector, data, copy)) {
        bytes -= block.count * SECTOR_SIZE;
        const last = different.at(-1);
        if (last && last.sector + last.count === block.sector) last.count += block.count;
        else different.push(block);
      }
    }
    report(data.length);
  }
  return { bytes, differences: await without(different, changes()) };
}
