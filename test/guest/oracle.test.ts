// SPDX-License-Identifier: MIT
//
// What cbt reports against the list of changes that were made: none missing, none beyond the rounding to blocks.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { open, type BlockDevice, type ChangeTracker, type Extent, type Mark } from 'blkfilter';

import { attribute, dmCreate, dmRemove, partition, scatter, unpartition, type Scatter } from './support/devices.js';
import { collected, rounded, shifted, union } from './support/extents.js';

const BLOCK = 4096;
const BLOCK_SECTORS = BLOCK / 512;

const rows: Scatter[] = [
  { how: 'direct', threads: 1, count: 150, max: 256 * 1024, seed: 1 },
  { how: 'direct', threads: 4, count: 60, max: 64 * 1024, seed: 2 },
  { how: 'buffered', threads: 1, count: 150, max: 256 * 1024, seed: 10 },
  { how: 'buffered', threads: 4, count: 60, max: 64 * 1024, seed: 20 },
  { how: 'discard', threads: 2, count: 30, max: 8 * 1024 * 1024, seed: 30 },
  { how: 'zeroout', threads: 2, count: 30, max: 1024 * 1024, seed: 40 },
];

/** A device that is written to, and how a sector of it maps to each device that is tracked. */
interface Target {
  title: string;
  device: string;
  tracked: { device: string; map: (places: Extent[]) => Extent[] }[];
}

const same = (places: Extent[]) => places;
const MIB = 2048;

/** Where a linear mapping of two pieces, the second before the first on the disk, puts places. */
function crossed(places: Extent[], first: number, second: number, size: number): Extent[] {
  return places.flatMap(({ sector, count }) => {
    const head = Math.max(0, Math.min(count, size - sector));
    return [
      { sector: first + sector, count: head },
      { sector: second + Math.max(0, sector - size), count: count - head },
    ].filter((part) => part.count > 0);
  });
}

const targets: Target[] = [
  {
    title: 'a whole disk',
    device: '/dev/sda',
    tracked: [{ device: '/dev/sda', map: same }],
  },
  {
    title: 'a partition, seen by itself and by its disk',
    device: '/dev/sdb1',
    tracked: [
      { device: '/dev/sdb1', map: same },
      { device: '/dev/sdb', map: (places) => shifted(places, attribute('/dev/sdb1', 'start')) },
    ],
  },
  {
    title: 'a device-mapper device, seen by itself, by the partition below it and by the disk',
    device: '/dev/mapper/crossed',
    tracked: [
      { device: '/dev/mapper/crossed', map: same },
      { device: '/dev/sdb2', map: (places) => crossed(places, 128 * MIB, 32 * MIB, 64 * MIB) },
      {
        device: '/dev/sdb',
        map: (places) => shifted(crossed(places, 128 * MIB, 32 * MIB, 64 * MIB), attribute('/dev/sdb2', 'start')),
      },
    ],
  },
];

describe('what cbt reports is what was written', () => {
  before(() => {
    // A start that is no multiple of a block, as old tools made them.
    partition('/dev/sdb', 2048 + 63, 256, 512);
    dmCreate('crossed', `0 ${64 * MIB} linear /dev/sdb2 ${128 * MIB}`, `${64 * MIB} ${64 * MIB} linear /dev/sdb2 ${32 * MIB}`);
  });

  after(() => {
    dmRemove('crossed');
    unpartition('/dev/sdb');
  });

  for (const { title, device, tracked } of targets) {
    describe(title, () => {
      const devices: BlockDevice[] = [];
      const trackers: ChangeTracker[] = [];

      before(async () => {
        for (const { device } of tracked) {
          const opened = await open(device);
          devices.push(opened);
          trackers.push(await opened.attach('cbt', { blockSize: BLOCK }));
        }
      });

      after(async () => {
        for (const tracker of trackers) await tracker.detach();
        for (const opened of devices) await opened.close();
      });

      for (const row of rows) {
        it(`${row.how}, ${row.threads} threads`, async () => {
          const marks: Mark[] = [];
          for (const tracker of trackers) marks.push((await tracker.checkpoint()).mark);
          const places = scatter(device, row);
          for (const [i, tracker] of trackers.entries()) {
            const sectors = (await devices[i]?.sectors()) ?? 0;
            const truth = union(rounded(tracked[i]?.map(places) ?? [], BLOCK_SECTORS, sectors));
            const reported = await collected(tracker.changes({ since: marks[i] ?? assert.fail() }));
            assert.deepEqual(reported, truth, `on ${tracked[i]?.device}`);
          }
        });
      }
    });
  }
});
