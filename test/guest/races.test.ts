// SPDX-License-Identifier: MIT
//
// Filters come and go while others do the same, write, command them, and take devices, partitions and modules away. No
// call may give a result that its race does not explain, and in the end nothing may be left: no filter, no reference.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, it, type TestContext } from 'node:test';

import { open } from 'blkfilter';

import { dmCreate, dmRemove, partition } from './support/devices.js';
import { FILTERS, loadModules, MODULES } from './support/modules.js';
import { Nulls } from './support/nulls.js';
import { happened, onlyResults, race, references, type Results } from './support/race.js';
import { run, sh, until } from './support/run.js';
import { liveWitnesses, loadWitness, statistics, unloadWitness } from './support/witness.js';

const ROUNDS = Number(process.env.BLKFILTER_ROUNDS ?? 30);

/** Rounds for each of so many that race at once. */
const each = (racers: number): number => Math.ceil(ROUNDS / racers);

const series = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** What pokers may meet on devices that stay. */
const poked = {
  open: '0',
  attach: '0 EALREADY',
  detach: '0 ENOENT EINVAL',
  info: '0 ENOENT',
  checkpoint: '0 ENOENT',
  changes: '0 ENOENT',
  bitmap: '0 ENOENT',
  'set-rules': '0 ENOENT',
  'get-rules': '0 ENOENT EMSGSIZE',
  configure: '0 ENOENT',
  stream: '0 ENOENT EBUSY',
  read: '0',
  write: '0',
};

/** On devices that go. Of one that is dead already the size is 0. */
const poking = {
  open: '0 ENOENT ENXIO ENODEV',
  attach: `${poked.attach} ENODEV`,
  detach: `${poked.detach} ENODEV`,
  info: `${poked.info} ENODEV`,
  checkpoint: `${poked.checkpoint} ENODEV`,
  changes: `${poked.changes} ENODEV`,
  bitmap: `${poked.bitmap} ENODEV EINVAL`,
  'set-rules': `${poked['set-rules']} ENODEV`,
  'get-rules': `${poked['get-rules']} ENODEV`,
  configure: `${poked.configure} ENODEV`,
  stream: `${poked.stream} ENODEV`,
  read: '0',
  write: '0 EIO ENXIO ENODEV ENOSPC',
};

/** Writes and reads back on each device until it is told to stop. */
class Load {
  readonly #child: ChildProcess;
  #output = '';

  private constructor(devices: string[], size: string) {
    const jobs = devices.flatMap((device, i) => [`--name=job${i}`, `--filename=${device}`]);
    this.#child = spawn(
      'fio',
      [
        '--ioengine=libaio', '--direct=1', '--iodepth=4', '--rw=randwrite', '--bsrange=4k-64k', `--size=${size}`,
        '--rate_iops=50', '--time_based', '--runtime=36000', '--verify=crc32c', '--verify_backlog=4',
        '--verify_fatal=1', '--output-format=json', ...jobs,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    this.#child.stdout?.on('data', (data: Buffer) => (this.#output += data.toString()));
  }

  /** Gives it when it writes. */
  static async start(devices: string[], size: string): Promise<Load> {
    const before = Object.fromEntries(devices.map((device) => [device, statistics(device).written]));
    const load = new Load(devices, size);
    await until('fio to write', () => devices.some((device) => statistics(device).written > (before[device] ?? 0)));
    return load;
  }

  async stop(): Promise<void> {
    assert.equal(this.#child.exitCode, null, 'fio ended early');
    this.#child.kill('SIGINT');
    await once(this.#child, 'close');
    const { jobs } = JSON.parse(this.#output.slice(this.#output.indexOf('{'))) as {
      jobs: { error: number; write: { total_ios: number }; read: { total_ios: number } }[];
    };
    for (const { error, write, read } of jobs) {
      assert.equal(error, 0, 'fio found data that it had not written');
      assert.ok(write.total_ios > 0 && read.total_ios > 0, `${write.total_ios} writes, ${read.total_ios} reads`);
    }
  }
}

/** Every attached filter, as "device name". */
const attached = (): string[] =>
  sh('grep -H . /sys/class/block/*/filter || true')
    .split('\n')
    .filter(Boolean)
    .map((line) => line.replace('/sys/class/block/', '/dev/').replace('/filter:', ' '));

/** What racers have left on devices that stay. */
async function detachAll(): Promise<void> {
  for (const line of attached()) {
    const [path = '', name = ''] = line.split(' ');
    await using device = await open(path);
    await device.detach(name);
  }
}

/** Has a driver send a bio on that a filter sees: from then on the hook for those that are held back comes and goes, too. */
async function heldBackOnce(): Promise<void> {
  const path = dmCreate('held', '0 2048 linear /dev/sda 0');
  await using device = await open('/dev/sda');
  await device.attach('cbt');
  sh(`dd if=${path} of=/dev/null bs=4096 count=1 iflag=direct status=none`);
  await device.detach('cbt');
  dmRemove('held');
}

const report = (t: TestContext, results: Results): void => t.diagnostic(JSON.stringify(results));

/** That disks were removed as often as they should, under filters that others attached, detached and commanded. */
function assertRemoved(results: Results): void {
  onlyResults(results, { ...poking, remove: '0', restore: '0' });
  assert.ok(happened(results, 'remove') >= ROUNDS);
  // Most filters went with the disk.
  assert.ok(happened(results, 'attach') - (results.detach?.[0] ?? 0) > ROUNDS / 4, JSON.stringify(results));
  happened(results, 'write');
  // In few rounds none may have met a device that had a filter of theirs.
  if (ROUNDS >= 200) for (const call of ['set-rules', 'stream']) happened(results, call);
}

describe(`races, ${ROUNDS} rounds each`, () => {
  before(() => void loadModules());
  beforeEach(async () => {
    loadWitness({ slow: 100 }, { sleeps: 200 });
    await heldBackOnce();
  });

  // Nothing may be left of anything.
  afterEach(async () => {
    assert.deepEqual(attached(), []);
    assert.equal(liveWitnesses(), 0);
    const modules = ['blkfilter_witness', ...FILTERS];
    // Whoever was the last in a filter gives it back a moment later.
    await until('references to be given back', () => modules.every((module) => references(module) === 0));
    unloadWitness();
    run('rmmod', ...FILTERS);
    assert.equal(references('blkfilter'), 0);
    run('rmmod', 'blkfilter');
    loadModules();
  });

  describe('on RAM disks and null_blk', () => {
    let nulls: Nulls;
    let disks: string[];
    before(() => {
      run('modprobe', 'brd', 'rd_nr=4', 'rd_size=65536');
      nulls = new Nulls(4);
      disks = [...nulls.devices, ...series(4).map((i) => `/dev/ram${i}`)];
    });
    after(() => {
      nulls.remove();
      run('rmmod', 'brd');
    });

    it('attach and detach, against fio', async (t) => {
      const load = await Load.start(disks, '48M');
      const roles = disks.flatMap((disk) => [`pair ${disk} cbt`, `~pair ${disk} slow`]);
      const results = await race(each(disks.length), ...roles);
      await load.stop();
      report(t, results);
      // Of the two on a disk the other one may be there.
      onlyResults(results, { attach: '0', detach: '0' });
      assert.ok(happened(results, 'attach') >= 2 * ROUNDS);
      assert.equal(results.attach?.[0], results.detach?.[0]);
    });

    for (const filter of ['cbt', 'slow']) {
      it(`three at once attach ${filter}, and detach it: one each`, async (t) => {
        const results = await race(each(disks.length), ...disks.map((disk) => `duel ${disk} ${filter}`));
        report(t, results);
        onlyResults(results, { attach: '0 EALREADY', detach: '0 ENOENT', 'attach-wins': '1', 'detach-wins': '1' });
        assert.ok(happened(results, 'attach-wins', '1') >= ROUNDS);
        assert.equal(results.attach?.EALREADY, 2 * (results.attach?.[0] ?? 0));
        assert.equal(results.detach?.ENOENT, 2 * (results.detach?.[0] ?? 0));
      });
    }

    it('commands, against attach and detach', async (t) => {
      const few = disks.slice(2, 6);
      const roles = few.flatMap((disk) => [`pair ${disk} cbt`, `ctl ${disk}`, `ctl ${disk}`]);
      const results = await race(each(few.length), ...roles);
      report(t, results);
      onlyResults(results, { ...poked, attach: '0', detach: '0' });
      for (const command of ['info', 'changes', 'bitmap']) {
        happened(results, command);
        happened(results, command, 'ENOENT');
      }
      happened(results, 'checkpoint');
    });

    it('rules and streams, against fio, attach and detach', async (t) => {
      const few = disks.slice(2, 6);
      const load = await Load.start(few, '48M');
      const roles = few.flatMap((disk) => [`pair ${disk} cbt`, `meddle ${disk}`, `meddle ${disk}`]);
      const results = await race(each(few.length), ...roles);
      // What guard still delays is let go.
      await detachAll();
      await load.stop();
      report(t, results);
      onlyResults(results, poked);
      assert.ok(happened(results, 'attach') >= ROUNDS);
      for (const call of ['set-rules', 'get-rules', 'configure', 'stream', 'read']) happened(results, call);
    });

    it('all at random, of a filter that sleeps and one that does not', async (t) => {
      const results = await race(
        each(4),
        ...disks.slice(2, 6).map((disk) => `visit ${disk} cbt`),
        ...series(6).flatMap(() => ['poke /dev/ram[01] cbt slow', 'io /dev/ram[0-3]']),
        ...series(2).map(() => 'poke /dev/nullb* slow'),
      );
      await detachAll();
      report(t, results);
      onlyResults(results, poked);
      happened(results, 'write');
      happened(results, 'attach', 'EALREADY');
    });
  });

  it('attach, detach and commands, against SCSI disks that are pulled', async (t) => {
    run('modprobe', 'scsi_debug', 'dev_size_mb=32', 'delay=0', 'max_luns=4', 'add_host=1');
    const disks = await until('the disks of scsi_debug', () => {
      const found = sh('ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block/* 2>/dev/null || true')
        .split('\n').filter(Boolean);
      return found.length === 4 && found.map((path) => path.split('/').at(-3) ?? '');
    });
    const results = await race(
      each(disks.length),
      ...disks.map((address) => `delete ${address} cbt`),
      ...series(4).map(() => 'poke /dev/sd[d-z]* cbt slow'),
      ...series(2).map(() => 'meddle /dev/sd[d-z]*'),
      ...series(2).map(() => 'io /dev/sd[d-z]*'),
    );
    report(t, results);
    await detachAll();
    run('rmmod', 'scsi_debug');
    assertRemoved(results);
  });

  it('attach, detach and commands, against null_blk disks that are switched off', async (t) => {
    const nulls = new Nulls(4);
    const results = await race(
      each(nulls.names.length),
      ...nulls.names.map((name) => `power ${name} cbt`),
      ...series(4).map(() => 'poke /dev/nullb* cbt slow'),
      ...series(2).map(() => 'meddle /dev/nullb*'),
      ...series(2).map(() => 'io /dev/nullb*'),
    );
    report(t, results);
    await detachAll();
    nulls.remove();
    assertRemoved(results);
  });

  it('attach, detach and commands, against partitions that are reread, added and deleted', async (t) => {
    const nulls = new Nulls(2);
    const disks = nulls.devices;
    for (const disk of disks) partition(disk, 2048, 8, 8);
    const [first = '', second = ''] = disks;
    const results = await race(
      each(4),
      ...disks.flatMap((disk) => [`reread ${disk}`, `part ${disk} 5 32`]),
      ...series(4).map(() => 'poke /dev/nullb*p* cbt slow'),
      `poke ${first} cbt slow`,
      `poke ${second} slow`,
      // As long as a write is delayed its partition is in use, and the table cannot be reread.
      'meddle /dev/nullb* 20',
      'io /dev/nullb*',
    );
    report(t, results);
    await detachAll();
    nulls.remove();
    onlyResults(results, {
      ...poking,
      reread: '0 EBUSY',
      add: '0 EBUSY',
      delete: '0 EBUSY ENXIO',
    });
    assert.ok(happened(results, 'reread') + happened(results, 'delete') >= ROUNDS / 2, JSON.stringify(results));
    happened(results, 'attach');
  });

  describe('modules', () => {
    let nulls: Nulls;
    let load: Load;
    let visitors: string[];
    beforeEach(async () => {
      nulls = new Nulls(3);
      load = await Load.start(nulls.devices.slice(0, 2), '48M');
      visitors = nulls.devices.slice(1).map((disk) => `~visit ${disk} cbt`);
    });
    afterEach(async () => {
      await load.stop();
      nulls.remove();
    });

    it('that of a filter is removed and loaded, against I/O and attach', async (t) => {
      const results = await race(ROUNDS, 'module blkfilter_cbt', ...visitors);
      report(t, results);
      onlyResults(results, { attach: '0 ENOENT', detach: '0', unload: '0 EAGAIN', load: '0' });
      // In few rounds it may never be tried while the module is away: that takes milliseconds.
      if (ROUNDS >= 200) happened(results, 'attach', 'ENOENT');
      assert.equal(results.attach?.[0] ?? 0, results.detach?.[0] ?? 0);
      assert.equal(results.load?.[0], ROUNDS);
    });

    it('all are removed and loaded, against I/O and attach', async (t) => {
      // Taking off the hooks takes seconds, under emulation.
      const rounds = Math.ceil(ROUNDS / 5);
      unloadWitness();
      const results = await race(rounds, `module ${[...MODULES].reverse().join(' ')}`, ...visitors);
      loadWitness({ slow: 100 }, { sleeps: 200 });
      report(t, results);
      onlyResults(results, { attach: '0 ENOENT ENOTTY', detach: '0', unload: '0 EAGAIN', load: '0' });
      if (ROUNDS >= 50) happened(results, 'attach', 'ENOTTY');
      assert.equal(results.attach?.[0] ?? 0, results.detach?.[0] ?? 0);
      assert.equal(results.load?.[0], MODULES.length * rounds);
    });
  });
});
