// SPDX-License-Identifier: MIT
//
// What a filter may do to a bio, and who sees it then. Three filters stand on the disk: an atomic witness above, an
// actor that may sleep, another witness below.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { open } from 'blkfilter';

import { Actor, loadActors, unloadActors } from './support/actor.js';
import { partition, unpartition } from './support/devices.js';
import { collected } from './support/extents.js';
import { attempt, program, run, sh, until } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness, Watch } from './support/witness.js';

const KIB = 1024;
const disk = '/dev/sda';

/** Writes a piece of data directly; gives what dd said of it. */
const write = (path: string, data: Buffer, seekKib: number) =>
  spawnSync('dd', [`of=${path}`, 'bs=4k', `seek=${seekKib / 4}`, 'oflag=direct', 'iflag=fullblock', 'status=none'], {
    input: data,
    encoding: 'utf8',
  });
const read = (path: string, kib: number, atKib: number): Buffer =>
  spawnSync('dd', [`if=${path}`, 'bs=4k', `count=${kib / 4}`, `skip=${atKib / 4}`, 'iflag=direct', 'status=none']).stdout;
const written = async (watch: Watch): Promise<number> => (await watch.compare()).seen.written;

/** The same in the background, for writes that do not end by themselves. */
function writing(path: string, data: Buffer): { done: () => boolean; status: Promise<number | null> } {
  const child = spawn('dd', [`of=${path}`, 'bs=4k', 'oflag=direct', 'iflag=fullblock', 'status=none'], {
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  child.stdin.end(data);
  const status = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { done: () => child.exitCode !== null, status };
}

for (const path of [disk, `${disk}1`]) {
  describe(`filters on ${path === disk ? 'a disk' : 'a partition'}`, () => {
    let above: Watch, actor: Actor, below: Watch;
    before(() => {
      loadWitness({ above: 400_000, below: 50_000 });
      loadActors({ actor: 150_000 });
      partition(disk, 2048, 100);
    });
    beforeEach(async () => {
      above = await Watch.start(path, 'above');
      actor = await Actor.attach(path, 'actor');
      below = await Watch.start(path, 'below');
    });
    afterEach(async () => {
      await above.stop();
      await actor.stop();
      await below.stop();
      assert.equal(liveWitnesses(), 0);
    });
    after(() => {
      unpartition(disk);
      unloadActors();
      unloadWitness();
    });

    const data = randomBytes(8 * KIB);

    it('one that passes a bio on: all see it once, and it arrives', async () => {
      assert.equal(write(path, data, 2048).status, 0);
      assert.deepEqual([await written(above), (await actor.count()).seen, await written(below)], [16, 2, 16]);
      assert.deepEqual(read(path, 8, 2048), data);
    });

    it('one that sleeps: likewise', async () => {
      await actor.act('sleep');
      assert.equal(write(path, data, 2048).status, 0);
      assert.deepEqual([await written(above), await written(below)], [16, 16]);
      assert.deepEqual(read(path, 8, 2048), data);
    });

    it('one that fails it: nothing below sees it, and nothing is written', async () => {
      write(path, Buffer.alloc(8 * KIB, 1), 2048);
      await actor.act('fail');
      const sectors = (await above.compare()).counted.written;
      assert.match(write(path, data, 2048).stderr, /error/);
      assert.deepEqual([await written(above), await written(below)], [24, 16]);
      assert.equal((await above.compare()).counted.written, sectors);
      assert.deepEqual(read(path, 8, 2048), Buffer.alloc(8 * KIB, 1));
    });

    it('one that holds it: it goes on to those below when it is let go, in their sight only', async () => {
      await actor.act('hold');
      const dd = writing(path, data.subarray(0, 4 * KIB));
      await until('the bio to be held', async () => (await actor.count()).held === 1);
      await sleep(300);
      assert.equal(dd.done(), false);
      assert.deepEqual([await written(above), await written(below)], [8, 0]);
      await actor.release();
      assert.equal(await dd.status, 0);
      assert.deepEqual([await written(above), await written(below)], [8, 8]);
      assert.deepEqual(read(path, 4, 0), data.subarray(0, 4 * KIB));
    });

    it('one that holds it and is detached: it lets it go', async () => {
      const other = await Actor.attach(`/dev/sdb`, 'actor');
      await other.act('hold');
      const dd = writing('/dev/sdb', data.subarray(0, 4 * KIB));
      await until('the bio to be held', async () => (await other.count()).held === 1);
      await other.stop();
      assert.equal(await dd.status, 0);
      assert.deepEqual(read('/dev/sdb', 4, 0), data.subarray(0, 4 * KIB));
    });

    it('one that sends its own: only those below see that', async () => {
      await actor.act('echo');
      assert.equal(write(path, data.subarray(0, 4 * KIB), 2048).status, 0);
      assert.deepEqual([await written(above), await written(below)], [8, 16]);
      assert.deepEqual(read(path, 4, 2048), data.subarray(0, 4 * KIB));
      assert.deepEqual(read(path, 4, 3072), data.subarray(0, 4 * KIB));
    });

    it('a bio that must not wait is sent back where a filter may sleep, and passes where none does', async () => {
      assert.equal(run(program('nowait'), path).trim(), 'EAGAIN');
      assert.deepEqual([await written(above), await written(below)], [0, 0]);
      assert.equal(run(program('nowait'), '/dev/sdb').trim(), '0');
    });
  });
}

describe('a filter that holds writes, with cbt above it', () => {
  before(() => loadActors({ actor: 150_000 }));
  after(() => unloadActors());

  it('commands reach it while a rescan waits for what it holds', async () => {
    const actor = await Actor.attach(disk, 'actor');
    await actor.act('hold');
    // Rereading the partition table writes back what is dirty, and keeps others from opening and closing the disk.
    const rescan = spawn('sh', ['-c', `exec 3<>${disk}; echo dirty >&3; blockdev --rereadpt ${disk}`], { stdio: 'inherit' });
    const status = new Promise((resolve) => rescan.on('close', resolve));
    await until('the bio to be held', async () => (await actor.count()).held === 1);
    await sleep(300);
    assert.equal((await actor.count()).held, 1);
    await actor.release();
    await actor.act('pass');
    assert.equal(await status, 0);
    await actor.stop();
  });

  it('a write held over a checkpoint is reported as changed after it', async () => {
    const device = await open(disk);
    const tracker = await device.attach('cbt');
    const actor = await Actor.attach(disk, 'actor');
    await actor.act('hold');
    const dd = writing(disk, Buffer.alloc(4 * KIB, 7));
    await until('the bio to be held', async () => (await actor.count()).held === 1);
    const { mark } = await tracker.checkpoint();
    assert.deepEqual(await collected(tracker.changes({ since: mark })), []);
    await actor.release();
    assert.equal(await dd.status, 0);
    assert.deepEqual(await collected(tracker.changes({ since: mark })), [{ sector: 0, count: 128 }]);
    await actor.stop();
    await tracker.detach();
    await device.close();
  });
});

describe('a filter written for the header of the series', () => {
  before(() => void run('modprobe', 'blkfilter_v5'));
  after(() => void run('rmmod', 'blkfilter_v5'));

  it('is attached, sees I/O, takes commands, consumes bios, is detached', async () => {
    const device = await open(disk);
    const filter = await device.attach('v5');
    assert.deepEqual(await device.filters(), [{ name: 'v5', altitude: 150_000 }]);
    const counts = async () => {
      const answer = await filter.ctl(1, Buffer.alloc(16));
      return [Number(answer.readBigUInt64LE(0)), Number(answer.readBigUInt64LE(8))];
    };
    run('fio', '--name=v5', `--filename=${disk}`, '--ioengine=libaio', '--direct=1', '--rw=randwrite', '--bs=4k', '--size=8M',
      '--io_size=1M', '--iodepth=8', '--verify=crc32c');
    // 256 writes, and as many reads by the verification.
    assert.deepEqual(await counts(), [512, 0]);
    await filter.ctl(2);
    assert.match(write(disk, Buffer.alloc(4 * KIB), 0).stderr, /Input\/output error/);
    assert.deepEqual(await counts(), [513, 1]);
    await filter.detach();
    assert.equal(write(disk, Buffer.alloc(4 * KIB), 0).status, 0);
    await device.close();
  });
});

describe('the sample filter', () => {
  it('is under 60 lines, and refuses writes as long as it is attached', async () => {
    const lines = Number(sh("wc -l < kernel/samples/blkfilter_writeblock.c"));
    assert.ok(lines < 60, `${lines} lines`);
    run('modprobe', 'blkfilter_writeblock');
    const before = read(disk, 64, 0);
    const device = await open(disk);
    await device.attach('writeblock');
    assert.match(write(disk, randomBytes(4 * KIB), 0).stderr, /Input\/output error/);
    assert.notEqual(attempt('blkdiscard', disk).status, 0);
    assert.deepEqual(read(disk, 64, 0), before);
    await device.detach('writeblock');
    assert.equal(write(disk, randomBytes(4 * KIB), 0).status, 0);
    await device.close();
    run('rmmod', 'blkfilter_writeblock');
  });
});

