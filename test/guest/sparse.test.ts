// SPDX-License-Identifier: MIT
//
// A disk of 16 TiB: attached at once, its map takes memory where something was written, and reading skips the rest.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { open, type BlockDevice, type ChangeTracker } from 'blkfilter';

import { collected } from './support/extents.js';
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
    assert.deepEqual(await collected(tracker.changes({ since: 1 })), []);
  });

  it('knows what was written at its ends and anywhere between, for two pages each', async () => {
    const before = (await tracker.info()).memory;
    const places = [0, 1, 5, 9, 15].map((tib) => tib * TIB).concat(16 * TIB - BLOCK);
    places.forEach(write);
    assert.deepEqual(
      await collected(tracker.changes({ since: 1 })),
      places.map((sector) => ({ sector, count: BLOCK })),
    );
    const grown = (await tracker.info()).memory - before;
    assert.ok(grown <= places.length * 2 * 4096, `${grown} bytes`);
  });

  it('takes a change of everything without a page more', async () => {
    await tracker.checkpoint();
    const before = (await tracker.info()).memory;
    await tracker.mark({ sector: 0, count: 16 * TIB });
    assert.deepEqual(await collected(tracker.changes({ since: 2 })), [{ sector: 0, count: 16 * TIB }]);
    assert.equal((await tracker.info()).memory, before);
    assert.ok(before < MIB);
  });
});
