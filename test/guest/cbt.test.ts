// SPDX-License-Identifier: MIT
//
// Epochs, generations and the commands of cbt.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, it } from 'node:test';

import { BlkfilterError, open, parseMark, type BlockDevice, type ChangeTracker, type Mark } from 'blkfilter';

import { content } from './support/copies.js';
import { scatter } from './support/devices.js';
import { changedSince, collected, differing, markNow, outside, shifted } from './support/extents.js';
import { program, run } from './support/run.js';
import { haveZones, removeZonedDisk, zonedDisk } from './support/zones.js';

const DISK = '/dev/sda';
const KIB = 2;

/** Writes so many sectors at a sector, past the page cache. */
function write(sector: number, count: number): void {
  run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=512', 'oflag=direct', `seek=${sector}`, `count=${count}`, 'status=none');
}

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof BlkfilterError, String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

describe('cbt', () => {
  let device: BlockDevice;
  let tracker: ChangeTracker;
  /** The mark of the attaching. */
  let start: Mark;
  const since = async (epoch: number) => changedSince(tracker, epoch);

  beforeEach(async () => {
    device = await open(DISK);
    tracker = await device.attach('cbt', { blockSize: '4KiB' });
    start = await markNow(tracker);
  });

  afterEach(async () => {
    await device.detach('cbt').catch(() => undefined);
    await device.close();
  });

  it('starts in epoch 1 with nothing changed, for the reason that it was attached', async () => {
    const info = await tracker.info();
    assert.equal(info.epoch, 1);
    assert.equal(info.blockSize, 4096);
    assert.equal(info.gap, 'attached');
    assert.equal(info.overreported, 0);
    assert.equal(info.sectors, await device.sectors());
    assert.match(info.generation, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    assert.deepEqual(await since(1), []);
  });

  it('answers any number of readers, each since its own epoch', async () => {
    write(0, 8);
    const two = await tracker.checkpoint();
    write(800, 8);
    const three = await tracker.checkpoint();
    write(8000, 8);
    // Once more, in a later epoch: since then only.
    write(0, 1);
    assert.deepEqual([two.epoch, three.epoch], [2, 3]);
    assert.equal(two.generation, (await tracker.info()).generation);
    for (let readers = 0; readers < 2; readers++) {
      assert.deepEqual(await since(1), [{ sector: 0, count: 8 }, { sector: 800, count: 8 }, { sector: 8000, count: 8 }]);
      assert.deepEqual(await since(2), [{ sector: 0, count: 8 }, { sector: 800, count: 8 }, { sector: 8000, count: 8 }]);
      assert.deepEqual(await since(3), [{ sector: 0, count: 8 }, { sector: 8000, count: 8 }]);
    }
  });

  it('reads do not change anything', async () => {
    run('dd', `if=${DISK}`, 'of=/dev/null', 'bs=1M', 'count=16', 'iflag=direct', 'status=none');
    assert.deepEqual(await since(1), []);
  });

  it('joins neighbours, and cuts to the range asked for', async () => {
    for (const sector of [16, 24, 32]) write(sector, 8);
    assert.deepEqual(await since(1), [{ sector: 16, count: 24 }]);
    assert.deepEqual(await collected(tracker.changes({ since: start, sector: 20, count: 7 })), [{ sector: 20, count: 7 }]);
    assert.deepEqual(await collected(tracker.changes({ since: start, sector: 40 })), []);
  });

  it('gives the same as extents, in batches and as a bitmap', async () => {
    scatter(DISK, { how: 'direct', threads: 1, count: 3000, max: 4096, seed: 7 });
    const extents = await since(1);
    assert.ok(extents.length > 2000, `only ${extents.length} extents`);
    const bitmap = await tracker.bitmap({ since: start });
    assert.deepEqual([...bitmap.extents()], extents);
    const part = await tracker.bitmap({ since: start, sector: 8 * 1000, count: 8 * 5000 + 3 });
    assert.deepEqual(
      [...part.extents()],
      await collected(tracker.changes({ since: start, sector: 8 * 1000, count: 8 * 5000 + 3 })),
    );
  });

  it('marks what it is told, up to the last sector', async () => {
    const sectors = await device.sectors();
    await tracker.mark({ sector: 100, count: 1 });
    await tracker.mark({ sector: sectors - 1, count: 1 });
    assert.deepEqual(await since(1), [{ sector: 96, count: 8 }, { sector: sectors - 8, count: 8 }]);
    await assert.rejects(tracker.mark({ sector: sectors, count: 1 }), code('EINVAL'));
    await assert.rejects(tracker.mark({ sector: 0, count: sectors + 1 }), code('EINVAL'));
    await tracker.checkpoint();
    await tracker.mark({ sector: 0, count: sectors });
    assert.deepEqual(await since(2), [{ sector: 0, count: sectors }]);
  });

  for (const [blockSize, kib] of [['4KiB', 4], ['64KiB', 64], ['1MiB', 1024]] as const) {
    it(`tracks in blocks of ${blockSize}`, async () => {
      await tracker.detach();
      tracker = await device.attach('cbt', { blockSize });
      write(5000 * KIB, 1);
      const first = Math.floor(5000 / kib) * kib * KIB;
      assert.deepEqual(await since(1), [{ sector: first, count: kib * KIB }]);
    });
  }

  it('carries over what changed before its options came, and takes them once', async () => {
    await tracker.detach();
    tracker = await device.attach('cbt');
    assert.equal((await tracker.info()).blockSize, 65536);
    write(5000, 1);
    const configure = () => device.ctl('cbt', 2, new Uint8Array(Uint32Array.of(4096, 0).buffer));
    await configure();
    assert.equal((await tracker.info()).blockSize, 4096);
    // At the grain it was tracked with.
    assert.deepEqual(await since(1), [{ sector: 4992, count: 128 }]);
    await assert.rejects(configure(), code('EBUSY'));
    await tracker.detach();
    tracker = await device.attach('cbt');
    await tracker.checkpoint();
    await assert.rejects(configure(), code('EBUSY'));
  });

  it('refuses epochs that have not begun, and says which is the current one', async () => {
    await assert.rejects(since(2), (error: unknown) => {
      assert.match(String(error), /epoch 2 has not begun, the current one is 1/);
      return code('EINVAL')(error);
    });
    await assert.rejects(tracker.bitmap({ since: await markNow(tracker, 2) }), code('EINVAL'));
  });

  it('fails with EGENERATION when tracking had a gap, and says why', async () => {
    const { mark, generation, epoch } = await tracker.checkpoint({ name: 'nightly' });
    assert.deepEqual(await collected(tracker.changes({ since: mark })), []);
    write(0, 8);
    await tracker.detach();
    tracker = await device.attach('cbt');
    // The epoch comes again, of which the number alone says that nothing was written since.
    assert.equal((await tracker.checkpoint()).epoch, epoch);
    assert.deepEqual(await collected(tracker.changes({ since: epoch, anyGeneration: true })), []);

    const over = (error: unknown) => {
      assert.match(String(error), /attached anew/);
      return code('EGENERATION')(error);
    };
    await assert.rejects(collected(tracker.changes({ since: mark })), over);
    await assert.rejects(tracker.bitmap({ since: mark }), over);
    await assert.rejects(tracker.nameMark(mark, 'weekly'), over);
    for (const text of ['nightly', `${generation.slice(0, 8)}:${epoch}`]) await assert.rejects(tracker.resolve(text), over);
  });

  it('reads a mark as people write it: in full, cut short, by its name', async () => {
    const { mark, generation } = await tracker.checkpoint({ name: 'nightly' });
    for (const length of [8, 13, 20, 35, 36]) {
      assert.equal(await tracker.resolve(`${generation.slice(0, length).toUpperCase()}:2`), mark);
    }
    assert.equal(await tracker.resolve('nightly'), mark);
    for (const text of ['2', `${generation.slice(0, 7)}:2`, ':2', `${generation}:`, 'a b', '']) {
      await assert.rejects(tracker.resolve(text), code('ERR_BLKFILTER_ARGUMENT'));
    }
    const another = generation.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    await assert.rejects(tracker.resolve(`${another.slice(0, 8)}:2`), code('EGENERATION'));
  });

  it('lists its epochs with their times and names', async () => {
    const times = [Date.now()];
    for (const name of ['first', undefined, 'third']) {
      await tracker.checkpoint(name === undefined ? {} : { name });
      times.push(Date.now());
    }
    // A name moves to whoever gets it last.
    const { mark } = await tracker.checkpoint({ name: 'first' });
    const { generation, began, epochs, ...rest } = await tracker.history();
    assert.deepEqual(rest, { gap: 'attached', mark });
    const names = [null, null, null, 'third', 'first'];
    assert.deepEqual(
      epochs.map(({ mark, epoch, name }) => ({ mark, epoch, name })),
      names.map((name, i) => ({ mark: `${generation}:${i + 1}`, epoch: i + 1, name })),
    );
    assert.ok(Date.parse(began) <= Date.parse(epochs[0]?.time ?? ''));
    times.forEach((time, i) => {
      const began = Date.parse(epochs[i]?.time ?? '');
      assert.ok(began <= time && began >= (times[i - 1] ?? 0), `${epochs[i]?.time} of ${new Date(time).toISOString()}`);
    });

    await tracker.forgetName('third');
    await assert.rejects(tracker.forgetName('third'), code('ENODATA'));
    await assert.rejects(tracker.resolve('third'), code('EGENERATION'));
    await tracker.nameMark(parseMark(`${generation}:4`), 'later');
    assert.equal(await tracker.resolve('later'), `${generation}:4`);
    await assert.rejects(tracker.nameMark(mark, 'second'), code('EEXIST'));
    await assert.rejects(tracker.nameMark(parseMark(`${generation}:6`), 'sixth'), code('ENODATA'));
  });

  it('keeps a bounded list: all names, of which there are 64, and the newest of the rest', async () => {
    const epochs = async () => (await tracker.history()).epochs;
    for (let i = 0; i < 64; i++) await tracker.checkpoint({ name: `n${i}` });
    await assert.rejects(tracker.checkpoint({ name: 'more' }), code('ENOSPC'));
    for (let i = 0; i < 70; i++) await tracker.checkpoint();
    const kept = await epochs();
    assert.deepEqual(kept.map(({ epoch }) => epoch), Array.from({ length: 128 }, (_, i) => (i < 64 ? i + 2 : i + 9)));
    assert.deepEqual(kept.slice(0, 64).map(({ name }) => name), Array.from({ length: 64 }, (_, i) => `n${i}`));
    // One that is not listed is as good as before.
    write(0, 8);
    assert.deepEqual(await since(66), [{ sector: 0, count: 8 }]);
    await tracker.forgetName('n7');
    await tracker.checkpoint({ name: 'more' });
    assert.deepEqual((await epochs()).map(({ name }) => name).filter(Boolean).slice(-2), ['n63', 'more']);
  });

  it('takes no name that could be taken for something else', async () => {
    // By the kernel itself: the addon is asked past the library's own check.
    const named = (name: Buffer) => {
      const argument = Buffer.alloc(88);
      argument.writeBigUInt64LE(1n, 16);
      name.copy(argument, 24);
      return device.ctl('cbt', 8, argument);
    };
    for (const name of ['', '1st', '-x', 'a:b', 'a.b', 'a/b', 'a b', 'é', 'x'.repeat(64), '\n']) {
      await assert.rejects(named(Buffer.from(name)), code('EINVAL'), name);
      await assert.rejects(named(Buffer.from(name, 'latin1')), code('EINVAL'), name);
      await assert.rejects(tracker.nameMark(start, name), code('ERR_BLKFILTER_ARGUMENT'), name);
    }
    for (const name of ['x', '_', 'N-1', 'x'.repeat(63)]) {
      await named(Buffer.from(name));
      assert.equal(await tracker.resolve(name), start);
      await tracker.forgetName(name);
    }
    await named(Buffer.from('x\0.....'));
    assert.equal((await tracker.history()).epochs[0]?.name, 'x');
  });

  it('is seen by another process, and by another handle', async () => {
    write(64, 8);
    const other = await open(DISK);
    const again = await other.filter('cbt');
    assert.deepEqual(await collected(again.changes({ since: start })), [{ sector: 64, count: 8 }]);
    await other.close();
    const json: unknown = JSON.parse(run('blkfilter', 'changes', DISK, '--since', start, '--json'));
    const { generation } = await tracker.info();
    assert.deepEqual(json, {
      device: DISK,
      generation,
      since: start,
      epoch: 1,
      blockSectors: 8,
      changedSectors: 8,
      extents: shifted([{ sector: 0, count: 8 }], 64),
    });
  });

  it('stops reading when told to', async () => {
    const stop = new AbortController();
    await tracker.mark({ sector: 0, count: 8 });
    await tracker.mark({ sector: 80, count: 8 });
    const read = async () => {
      for await (const extent of tracker.changes({ since: start, signal: stop.signal })) {
        assert.equal(extent.sector, 0);
        stop.abort(new Error('enough'));
      }
    };
    await assert.rejects(read(), /enough/);
  });
});

describe('a disk with zones', { skip: !haveZones() && 'not in this kernel' }, () => {
  after(removeZonedDisk);

  it('that are reset all at once is changed as a whole, which takes no more room in the map', async () => {
    const disk = zonedDisk();
    const device = await open(disk);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    const since = (epoch: number) => changedSince(tracker, epoch);
    const whole = [{ sector: 0, count: await device.sectors() }];
    await tracker.mark({ sector: 800, count: 8 });
    await tracker.checkpoint();
    const { memory } = await tracker.info();
    run('blkzone', 'reset', disk);
    assert.deepEqual(await since(2), whole);
    assert.deepEqual([...(await tracker.bitmap({ since: await markNow(tracker, 2) })).extents()], whole);
    assert.equal((await tracker.info()).memory, memory);
    await tracker.checkpoint();
    assert.deepEqual(await since(3), []);
    await tracker.mark({ sector: 80, count: 8 });
    assert.deepEqual(await since(3), [{ sector: 80, count: 8 }]);
    for (const epoch of [1, 2]) assert.deepEqual(await since(epoch), whole);
    await tracker.detach();
    await device.close();
  });
});

describe('a RAM disk', () => {
  // Until 6.3 such drivers take pages of swap without a bio.
  it('is tracked while it is swapped to', async (t) => {
    const BLOCK = 8;
    const disk = '/dev/ram0';
    run('modprobe', 'brd', 'rd_nr=1', 'rd_size=65536');
    run('mkswap', disk);
    run('swapon', disk);
    const before = content(disk);
    const device = await open(disk);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    run(program('pageout'), '16');
    const written = differing(before, content(disk), BLOCK);
    t.diagnostic(`${written.length} pages`);
    assert.ok(written.length > 1000);
    assert.deepEqual(outside(written, await collected(tracker.changes({ since: await markNow(tracker) })), BLOCK), []);
    await tracker.detach();
    await device.close();
    run('swapoff', disk);
    run('rmmod', 'brd');
  });
});
