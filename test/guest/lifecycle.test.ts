// SPDX-License-Identifier: MIT
//
// Devices that go away take their filters along; nothing is left behind.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';

import { BlkfilterError, open } from 'blkfilter';

import { filters, partition } from './support/devices.js';
import { loadModules, unloadModules } from './support/modules.js';
import { plug, unplug } from './support/plug.js';
import { attempt, program, run, until } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness } from './support/witness.js';

/** Opens a device now, for an ioctl that is issued later; gives what comes of it then. */
async function rawLater(...args: string[]): Promise<() => Promise<string>> {
  const child = spawn(program('raw-ioctl'), ['-wait', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async () => String((await lines.next()).value);
  assert.equal(await line(), 'open');
  return () => {
    child.stdin.end();
    return line();
  };
}

describe('devices that go away', () => {
  before(() => loadWitness({ upper: 900, lower: 100 }));
  after(() => {
    assert.equal(liveWitnesses(), 0);
    unloadWitness();
  });

  it('a disk takes the filters of itself and of its partitions along; what holds it open gets ENODEV', async () => {
    const disk = await plug();
    const name = disk.slice(5);
    partition(disk, 2048, 20, 20);
    const whole = await open(disk);
    const part = await open(`${disk}1`);
    const tracker = await whole.attach('cbt');
    await whole.attach('lower');
    await part.attach('lower');
    await part.attach('upper');
    assert.deepEqual(filters(disk), ['cbt', 'lower']);
    assert.deepEqual(filters(`${disk}1`), ['upper', 'lower']);
    assert.deepEqual(filters(`${disk}2`), []);

    const raw = await Promise.all([
      rawLater(disk, 'attach', 'cbt'),
      rawLater(`${disk}1`, 'detach', 'upper'),
      rawLater(disk, 'ctl', 'cbt', '1', '56'),
    ]);
    unplug(disk);
    await until('the disk to be gone', () => !existsSync(`/sys/block/${name}`));
    assert.equal(liveWitnesses(), 0);
    assert.deepEqual(await Promise.all(raw.map((issue) => issue())), ['ENODEV', 'ENODEV', 'ENODEV 56']);
    const gone = (error: unknown) => error instanceof BlkfilterError && error.code === 'ENODEV';
    for (const device of [whole, part]) {
      await assert.rejects(device.attach('cbt'), gone);
      await assert.rejects(device.detach('lower'), gone);
      await assert.rejects(device.ctl('lower', 1), gone);
    }
    await assert.rejects(tracker.info(), gone);
    await whole.close();
    await part.close();
    run('rmmod', 'scsi_debug');
  });

  it('a deleted partition takes its own along, and no others', async () => {
    const disk = await plug();
    partition(disk, 2048, 20, 20);
    for (const device of [disk, `${disk}1`, `${disk}2`]) {
      const opened = await open(device);
      await opened.attach('lower');
      await opened.close();
    }
    assert.equal(liveWitnesses(), 3);
    run('delpart', disk, '1');
    assert.equal(liveWitnesses(), 2);
    assert.deepEqual(filters(disk), ['lower']);
    assert.deepEqual(filters(`${disk}2`), ['lower']);
    unplug(disk);
    await until('the filters to be gone', () => liveWitnesses() === 0);
    run('rmmod', 'scsi_debug');
  });
});

describe('modules', () => {
  it('cannot be removed while a filter is attached, and can afterwards', async () => {
    const device = await open('/dev/sda');
    await device.attach('cbt');
    for (const module of ['blkfilter_cbt', 'blkfilter']) {
      assert.match(attempt('rmmod', module).stderr, /in use/);
    }
    await device.detach('cbt');
    await device.close();
    unloadModules();
    assert.ok(!existsSync('/sys/block/sda/filter'));
    loadModules();
  });
});
