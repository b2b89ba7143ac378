// SPDX-License-Identifier: MIT
//
// What filters are told of devices, and what becomes of them: rescans, removal, sizes, media, requests that are no bios.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { open, type ChangeTracker } from 'blkfilter';

import { Actor, actorEvents, loadActors, unloadActors } from './support/actor.js';
import { dmCreate, dmRemove, filters, NVME, NVME_GENERIC, nvme, partition, unpartition } from './support/devices.js';
import { changedSince, collected } from './support/extents.js';
import { Nulls } from './support/nulls.js';
import { plug } from './support/plug.js';
import { attempt, program, run, sh, until } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness } from './support/witness.js';

const disk = '/dev/sda';
const BLOCK = 128;

const writeBlock = (path: string, block: number): string =>
  sh(`dd if=/dev/zero of=${path} bs=64K seek=${block} count=1 oflag=direct conv=notrunc status=none`);

async function attach(path: string, ...names: string[]): Promise<void> {
  const device = await open(path);
  for (const name of names) await device.attach(name);
  await device.close();
}

async function tracking<T>(path: string, use: (tracker: ChangeTracker) => Promise<T>): Promise<T> {
  const device = await open(path);
  try {
    return await use(await device.filter('cbt'));
  } finally {
    await device.close();
  }
}

const layout = (...lines: string[]): string =>
  sh(`printf 'label: gpt\\n${lines.join('\\n')}\\n' | sfdisk -q --no-tell-kernel --wipe never ${disk}`);
const rescan = (): string => run('blockdev', '--rereadpt', disk);
const uuid = (n: number): string => `0000000${n}-0000-4000-8000-000000000000`;

describe('a partition rescan', () => {
  before(() => {
    loadWitness({ upper: 900, lower: 100 });
    run('modprobe', 'blkfilter_v5');
    layout(`start=2048 size=65536 uuid=${uuid(1)}`, `start=67584 size=65536 uuid=${uuid(2)}`);
    rescan();
  });
  after(() => {
    unpartition(disk);
    assert.equal(liveWitnesses(), 0);
    unloadWitness();
    run('rmmod', 'blkfilter_v5');
  });

  it('keeps the filters of identical partitions, and what they know', async () => {
    await attach(disk, 'lower');
    for (const path of [`${disk}1`, `${disk}2`]) await attach(path, 'cbt', 'upper', 'lower');
    writeBlock(`${disk}1`, 3);
    const before = await tracking(`${disk}1`, async (tracker) => {
      await tracker.checkpoint({ name: 'nightly' });
      return tracker.history();
    });
    const node = readFileSync(`/sys/class/block/sda1/dev`, 'utf8');
    rescan();
    assert.deepEqual(filters(disk), ['lower']);
    assert.deepEqual(filters(`${disk}1`), ['cbt', 'upper', 'lower']);
    assert.deepEqual(filters(`${disk}2`), ['cbt', 'upper', 'lower']);
    assert.equal(readFileSync(`/sys/class/block/sda1/dev`, 'utf8'), node);
    // Through the partition, and behind its back.
    writeBlock(`${disk}1`, 5);
    writeBlock(disk, 16 + 7);
    await tracking(`${disk}1`, async (tracker) => {
      assert.deepEqual(await tracker.history(), before);
      const blocks = (...numbers: number[]) => numbers.map((block) => ({ sector: block * BLOCK, count: BLOCK }));
      assert.deepEqual(await changedSince(tracker), blocks(3, 5, 7));
      assert.deepEqual(await collected(tracker.changes({ since: await tracker.resolve('nightly') })), blocks(5, 7));
    });
    await tracking(`${disk}2`, async (tracker) => assert.deepEqual(await changedSince(tracker), []));
  });

  it('keeps them over many', () => {
    for (let round = 0; round < 20; round++) rescan();
    assert.deepEqual(filters(`${disk}1`), ['cbt', 'upper', 'lower']);
    assert.equal(liveWitnesses(), 5);
  });

  it('takes away those of a partition that is another now, though it has the same number', async () => {
    await attach(`${disk}1`, 'v5');
    layout(`start=2048 size=65536 uuid=${uuid(1)}`, `start=67584 size=32768 uuid=${uuid(2)}`);
    rescan();
    // One that cannot be told that it has moved goes too.
    assert.deepEqual(filters(`${disk}1`), ['cbt', 'upper', 'lower']);
    assert.deepEqual(filters(`${disk}2`), []);
    assert.equal(liveWitnesses(), 3);
    layout(`start=2048 size=65536 uuid=${uuid(3)}`, `start=67584 size=32768 uuid=${uuid(2)}`);
    rescan();
    assert.deepEqual(filters(`${disk}1`), []);
    assert.equal(liveWitnesses(), 1);
  });

  it('lets them follow a partition that got another number', async () => {
    await attach(`${disk}2`, 'cbt', 'upper');
    layout(`size=32768 start=67584 uuid=${uuid(2)}`, `start=2048 size=65536 uuid=${uuid(3)}`);
    rescan();
    assert.deepEqual(filters(`${disk}1`), ['cbt', 'upper']);
    assert.deepEqual(filters(`${disk}2`), []);
    writeBlock(`${disk}1`, 2);
    await tracking(`${disk}1`, async (tracker) =>
      assert.deepEqual(await changedSince(tracker), [{ sector: 2 * BLOCK, count: BLOCK }]),
    );
  });

  it('is done by others too: what is gone takes its own along', async () => {
    unpartition(disk);
    assert.deepEqual(filters(disk), ['lower']);
    const device = await open(disk);
    await device.detach('lower');
    await device.close();
    assert.equal(liveWitnesses(), 0);
  });
});

describe('devices that come and go', () => {
  it('are told in the order of altitudes, and while they still work', async () => {
    // The third disk of the machine's takes sdc.
    loadActors({ upper: 900, lower: 100 }, 'sdd');
    const plugged = await plug();
    assert.equal(plugged, '/dev/sdd');
    assert.deepEqual(filters(plugged), ['upper', 'lower']);
    // The driver lets it go; what unplugs it, stops it first.
    sh('basename $(readlink -f /sys/block/sdd/device) > /sys/bus/scsi/drivers/sd/unbind');
    await until('the disk to be gone', () => !existsSync('/sys/block/sdd'));
    assert.deepEqual(actorEvents(), [
      'added sdd lower',
      'added sdd upper',
      'removed upper regular alive',
      'removed lower regular alive',
      'detach upper',
      'detach lower',
    ]);
    run('rmmod', 'scsi_debug');
    unloadActors();
  });

  it('that are pulled: from the lowest up, and held bios end', async () => {
    loadActors({ upper: 900, lower: 100 });
    const nulls = new Nulls(1);
    const [plugged = ''] = nulls.devices;
    const upper = await Actor.attach(plugged, 'upper');
    const lower = await Actor.attach(plugged, 'lower');
    actorEvents();
    await upper.act('hold');
    const dd = spawn('dd', ['if=/dev/zero', `of=${plugged}`, 'bs=4k', 'count=1', 'oflag=direct'], { stdio: 'ignore' });
    await until('the bio to be held', async () => (await upper.count()).held === 1);
    await lower.kill();
    assert.deepEqual(actorEvents(), ['removed lower surprise -', 'removed upper surprise -']);
    await upper.close();
    await lower.close();
    nulls.powerOff();
    assert.deepEqual(actorEvents(), ['detach upper', 'detach lower']);
    await until('dd to end', () => dd.exitCode !== null);
    assert.notEqual(dd.exitCode, 0);
    nulls.remove();
    unloadActors();
  });
});

describe('uevents', () => {
  it('tell of attach and detach', async () => {
    const child = spawn(program('uevents'), { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines: string[] = [];
    createInterface(child.stdout).on('line', (line) => lines.push(line));
    await until('the listener', () => lines.length > 0);
    const device = await open(disk);
    await device.attach('cbt');
    await device.detach('cbt');
    await device.close();
    const told = () => lines.filter((line) => line.includes('BLKFILTER=cbt'));
    await until('two uevents', () => told().length === 2);
    for (const [i, action] of ['attach', 'detach'].entries()) {
      assert.match(told()[i] ?? '', new RegExp(`ACTION=change .*/block/sda .*BLKFILTER_ACTION=${action} `));
    }
    child.kill();
  });
});

describe('a device that changes its size', () => {
  const MIB = 2048;
  const table = (sectors: number) => `0 ${sectors} linear /dev/sdb 0`;
  const resize = (sectors: number) =>
    sh(`dmsetup load --table '${table(sectors)}' grown; dmsetup resume grown`);

  it('is tracked in its new part, which is reported once', async () => {
    const path = dmCreate('grown', table(10 * MIB + 8));
    const device = await open(path);
    const tracker = await device.attach('cbt');
    writeBlock(path, 1);
    const { mark, epoch } = await tracker.checkpoint();
    resize(20 * MIB);
    assert.equal((await tracker.info()).sectors, 20 * MIB);
    // The last block was cut by the end.
    const grown = { sector: 10 * MIB, count: 10 * MIB };
    assert.deepEqual(await changedSince(tracker, epoch), [grown]);
    const bitmap = await tracker.bitmap({ since: mark });
    const changed = Array.from({ length: (20 * MIB) / BLOCK }, (_, block) => bitmap.has(block * BLOCK));
    assert.deepEqual(changed, changed.map((_, block) => block >= (10 * MIB) / BLOCK));
    const next = (await tracker.checkpoint()).epoch;
    assert.deepEqual(await changedSince(tracker, next), []);
    writeBlock(path, 200);
    writeBlock(path, 2);
    assert.deepEqual(await changedSince(tracker, next), [
      { sector: 2 * BLOCK, count: BLOCK },
      { sector: 200 * BLOCK, count: BLOCK },
    ]);
    await device.close();
    dmRemove('grown');
  });

  it('that was smaller for a while is changed in what it had lost, though nobody looked', async () => {
    const path = dmCreate('grown', table(20 * MIB));
    const device = await open(path);
    const tracker = await device.attach('cbt');
    const { generation, epoch } = await tracker.checkpoint();
    resize(10 * MIB);
    resize(20 * MIB);
    assert.deepEqual(await changedSince(tracker, epoch), [{ sector: 10 * MIB, count: 10 * MIB }]);
    resize(5 * MIB);
    assert.deepEqual(await changedSince(tracker, epoch), []);
    const later = await tracker.checkpoint();
    resize(15 * MIB);
    assert.deepEqual(await changedSince(tracker, later.epoch), [{ sector: 5 * MIB, count: 10 * MIB }]);
    assert.equal((await tracker.info()).generation, generation);
    await device.close();
    dmRemove('grown');
  });

  it('a partition likewise', async () => {
    partition(disk, 2048, 10);
    const device = await open(`${disk}1`);
    const tracker = await device.attach('cbt');
    run('resizepart', disk, '1', String(20 * MIB));
    assert.deepEqual(await changedSince(tracker), [{ sector: 10 * MIB, count: 10 * MIB }]);
    await device.close();
    unpartition(disk);
  });
});

describe('what no filter can see', () => {
  const fio = 'fio --name=past --ioengine=io_uring_cmd --cmd_type=nvme --rw=write --bs=4k --size=4k';
  const ways: [string, string, string, string][] = [
    ['SG_IO', '/dev/sdb', '/dev/sdb1', `${program('sg-write')} /dev/sdb 4096`],
    ['an NVMe command', NVME, `${NVME}p1`, `${program('nvme-write')} ${NVME} 4096`],
    ['an NVMe command by its generic node', NVME, `${NVME}p1`, `${program('nvme-write')} ${NVME_GENERIC} 4096`],
    ['an NVMe command by io_uring', NVME, `${NVME}p1`, `${fio} --filename=${NVME_GENERIC} --offset=2m`],
  ];
  for (const [way, disk, first, write] of ways) {
    it(`a write by ${way} begins a new generation, with all changed, and is counted`, async () => {
      if (disk === NVME) await nvme();
      partition(disk, 2048, 10);
      const [whole, part] = [await open(disk), await open(first)];
      const tracker = await whole.attach('cbt');
      const trackers = [tracker, await part.attach('cbt')];
      const before = await Promise.all(trackers.map((tracker) => tracker.checkpoint({ name: 'nightly' })));
      assert.equal(await whole.bypassed(), 0);
      sh(write);
      assert.deepEqual([await whole.bypassed(), await part.bypassed()], [1, 1]);
      for (const [i, tracker] of trackers.entries()) {
        const { generation, gap, sectors } = await tracker.info();
        assert.notEqual(generation, before[i]?.generation);
        assert.equal(gap, 'bypassed');
        assert.deepEqual(await changedSince(tracker, before[i]?.epoch), [{ sector: 0, count: sectors }]);
        await assert.rejects(collected(tracker.changes({ since: before[i]?.mark ?? assert.fail() })), /SG_IO/);
        // The names end with their generation, which has a list of its own.
        await assert.rejects(tracker.resolve('nightly'), { code: 'EGENERATION', message: /'nightly'.*SG_IO/ });
        const { mark, epochs } = await tracker.history();
        assert.deepEqual(epochs.map((entry) => [entry.mark, entry.name]), [[`${generation}:${before[i]?.epoch}`, null]]);
        assert.deepEqual(await collected(tracker.changes({ since: mark })), [{ sector: 0, count: sectors }]);
      }
      const status = JSON.parse(run('blkfilter', 'status', '--json')) as { devices: { path: string; bypassed: number }[] };
      assert.deepEqual(status.devices.map(({ path, bypassed }) => [path, bypassed]), [[disk, 1], [first, 1]]);
      // From here on all is as usual.
      const { epoch } = await tracker.checkpoint();
      writeBlock(disk, 40);
      assert.deepEqual(await changedSince(tracker, epoch), [{ sector: 40 * BLOCK, count: BLOCK }]);
      await part.close();
      await whole.detach('cbt');
      await whole.close();
      unpartition(disk);
    });
  }

  it('an NVMe disk of several paths gets no filter, and what to do is named', async (t) => {
    if (attempt('rmmod', 'nvme', 'nvme_core').status !== 0) {
      t.skip('nvme_core is a part of this kernel');
      return;
    }
    run('modprobe', 'nvme_core', 'multipath=Y');
    await nvme();
    const head = await open(NVME);
    await assert.rejects(head.attach('cbt'), { code: 'ENOTSUP', hint: /nvme_core\.multipath=N/ });
    await head.close();
    run('rmmod', 'nvme', 'nvme_core');
  });

  it('a device that can be mapped into memory (DAX) gets no filter, and the reason is named', async (t) => {
    if (attempt('modprobe', '-a', 'nd_e820', 'nd_pmem').status !== 0) {
      t.skip('this kernel has no nd_e820');
      return;
    }
    await until('the disk in memory', () => existsSync('/dev/pmem0'));
    const device = await open('/dev/pmem0');
    await assert.rejects(device.attach('cbt'), { code: 'ENOTSUP', message: /can be mapped into memory \(DAX\)/ });
    assert.deepEqual(await device.filters(), []);
    await device.close();
  });

  it('another medium likewise', async () => {
    const loop = sh('modprobe loop; truncate -s 10M /run/one /run/two; losetup -f --show /run/one').trim();
    const device = await open(loop);
    const tracker = await device.attach('cbt');
    const { generation } = await tracker.info();
    sh(`losetup -d ${loop}`);
    await sleep(100);
    await device.close();
    sh(`losetup ${loop} /run/two`);
    await tracking(loop, async (tracker) => {
      const info = await tracker.info();
      assert.equal(info.gap, 'medium');
      assert.notEqual(info.generation, generation);
      assert.deepEqual(await changedSince(tracker), [{ sector: 0, count: info.sectors }]);
    });
    run('blkfilter', 'detach', loop, 'cbt');
    sh(`losetup -d ${loop}; rm /run/one /run/two`);
  });
});
