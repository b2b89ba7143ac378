// SPDX-License-Identifier: MIT
import { markOf, type ChangeTracker, type Extent, type Mark } from 'blkfilter';

/** The union of extents: sorted, none touching another. Written without a look at the library's own. */
export function union(extents: Iterable<Extent>): Extent[] {
  const sorted = [...extents].sort((a, b) => a.sector - b.sector);
  const joined: Extent[] = [];
  for (const { sector, count } of sorted) {
    const last = joined.at(-1);
    if (last && sector <= last.sector + last.count) {
      last.count = Math.max(last.count, sector + count - last.sector);
    } else {
      joined.push({ sector, count });
    }
  }
  return joined;
}

/** Each extent widened to whole blocks of a device, and cut at its end. */
export function rounded(extents: Iterable<Extent>, blockSectors: number, sectors: number): Extent[] {
  return [...extents].map(({ sector, count }) => {
    const first = sector - (sector % blockSectors);
    const end = Math.min(Math.ceil((sector + count) / blockSectors) * blockSectors, sectors);
    return { sector: first, count: end - first };
  });
}

export const shifted = (extents: Iterable<Extent>, by: number): Extent[] =>
  [...extents].map(({ sector, count }) => ({ sector: sector + by, count }));

/** The mark of an epoch of the generation that tracking is in. */
export async function markNow(tracker: ChangeTracker, epoch = 1): Promise<Mark> {
  const { generation } = await tracker.info();
  return markOf({ generation, epoch });
}

/** What changed since an epoch of this generation; since its first, unless told. */
export const changedSince = async (tracker: ChangeTracker, epoch = 1): Promise<Extent[]> =>
  collected(tracker.changes({ since: await markNow(tracker, epoch) }));

export async function collected(extents: AsyncIterable<Extent>): Promise<Extent[]> {
  const all: Extent[] = [];
  for await (const extent of extents) all.push(extent);
  return all;
}

/** The blocks, of so many sectors, in which two contents of a device differ: their numbers. */
export function differing(first: Buffer, second: Buffer, blockSectors: number): number[] {
  const bytes = blockSectors * 512;
  const blocks: number[] = [];
  for (let at = 0; at < second.length; at += bytes) {
    if (first.compare(second, at, at + bytes, at, at + bytes) !== 0) blocks.push(at / bytes);
  }
  return blocks;
}

/** Those of some blocks that lie in none of the extents. */
export const outside = (blocks: number[], extents: Extent[], blockSectors: number): number[] =>
  blocks.filter((block) => {
    const first = block * blockSectors;
    return !extents.some(({ sector, count }) => sector <= first && first + blockSectors <= sector + count);
  });
