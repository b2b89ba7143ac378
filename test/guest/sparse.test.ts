// SPDX-License-Identifier: MIT
//
// Large devices, 16 and 64 TiB: attached at once, the map takes memory where something was written, and reading skips the rest.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { open, type BlockDevice, type ChangeTracker } from 'blkfilter';

import { dmCreate, dmRemove } from './support/devices.js';
import { changedSince } from './support/extents.js';
import { run } from './support/run.js';

const DISK = '/dev/sdc';
const TIB = 2 ** 31;
const BLOCK = 128;
const MIB = 1024 * 1024;

function write(sector: number): void {
  run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=512', 'oflag=direct', `seek=${sector}`, 'count=1', 'status=none');
}

describe('a disk of 16 TiB', () => {
  let device: BlockDevice;
  let tracker: ChangeTracker;

  before(async () => {
    device = await open(DISK);
    tracker = await device.attach('cbt');
  });

  after(async () => {
    await tracker.detach();
    await device.close();
  });

  it('has the size', async () => assert.equal(await device.sectors(), 16 * TIB));

  it('costs next to nothing while nothing is written', async () => {
    const { memory } = await tracker.info();
    assert.ok(memory < 64 * 1024, `${memory} bytes`);
    assert.deepEqual(await changedSince(tracker), []);
  });

  it('knows what was written at its ends and anywhere between, for two pages each', async () => {
    const before = (await tracker.info()).memory;
    const places = [0, 1, 5, 9, 15].map((tib) => tib * TIB).concat(16 * TIB - BLOCK);
    places.forEach(write);
    assert.deepEqual(
      await changedSince(tracker),
      places.map((sector) => ({ sector, count: BLOCK })),
    );
    const grown = (await tracker.info()).memory - before;
    assert.ok(grown <= places.length * 2 * 4096, `${grown} bytes`);
  });

  it('takes a change of everything without a page more', async () => {
    await tracker.checkpoint();
    const before = (await tracker.info()).memory;
    await tracker.mark({ sector: 0, count: 16 * TIB });
    assert.deepEqual(await changedSince(tracker, 2), [{ sector: 0, count: 16 * TIB }]);
    assert.equal((await tracker.info()).memory, before);
    assert.ok(before < MIB);
  });
});

describe('a device of 64 TiB', () => {
  /** Blocks that one page of the map stands for. */
  const PAGE_BLOCKS = 1024;
  const pagesIn = (sectors: number): number => sectors / BLOCK / PAGE_BLOCKS;
  let device: BlockDevice;
  let tracker: ChangeTracker;

  before(async () => {
    device = await open(dmCreate('sparse', `0 ${64 * TIB} zero`));
    tracker = await device.attach('cbt');
  });

  after(async () => {
    await tracker.detach();
    await device.close();
    dmRemove('sparse');
  });

  it('is tracked from its first to its last block', async () => {
    const extents = [0, 64 * TIB - BLOCK].map((sector) => ({ sector, count: BLOCK }));
    for (const extent of extents) await tracker.mark({ ...extent, count: 1 });
    assert.deepEqual(await changedSince(tracker), extents);
    assert.ok((await tracker.info()).memory < 64 * 1024);
  });

  // The dearest way to write an area is to leave out one block of each page: it takes all of its pages, as writing all of
  // it in small pieces does.
  for (const { title, sectors, at, limit } of [
    { title: '1 % of a TiB, in one place', sectors: Math.round(TIB / 100), at: 8 * TIB, limit: 0.7 * MIB },
    { title: 'a whole TiB', sectors: TIB, at: 32 * TIB, limit: 70 * MIB },
  ]) {
    it(`takes no more than ${limit / MIB} MiB for ${title}`, async () => {
      const before = (await tracker.info()).memory;
      const pages = Math.floor(pagesIn(sectors));
      for (let page = 0; page < pages; page++) {
        await tracker.mark({ sector: at + page * PAGE_BLOCKS * BLOCK, count: (PAGE_BLOCKS - 1) * BLOCK });
      }
      const { memory, overreported } = await tracker.info();
      assert.equal(overreported, 0);
      assert.ok(memory - before > pages * 4096 && memory - before <= limit, `${memory - before} bytes`);
    });
  }
});
