// SPDX-License-Identifier: MIT
//
// Writes that are in flight at an attach or at a checkpoint have completed when it returns. The truth is on the disk,
// read past all caches: what was in flight must be there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { basename } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { open, type BlockDevice } from 'blkfilter';

import { Actor, loadActors, unloadActors } from './support/actor.js';
import { content } from './support/copies.js';
import { dmCreate, dmRemove, mdCreate, mdStop } from './support/devices.js';
import { collected, differing, markNow, outside } from './support/extents.js';
import { untilUnhooked } from './support/modules.js';
import { run, sh, until } from './support/run.js';

const SECTORS = 65536;
const PATTERN = Buffer.from('in flight');

/** Sets a write under way, by a process in a control group; the promise inside tells when it is done. */
async function write(device: string, sector: number, group?: string): Promise<{ done: Promise<unknown> }> {
  sh(`{ printf '${PATTERN.toString()}'; head -c 4096 /dev/zero; } | head -c 4096 > /run/pattern`);
  const enter = group === undefined ? '' : `echo $$ > ${group}/cgroup.procs; `;
  const dd = spawn('sh', ['-c', `${enter}exec dd "$@"`, 'dd', 'if=/run/pattern', `of=${device}`, 'bs=4096', 'count=1', 'oflag=direct,seek_bytes', `seek=${sector * 512}`, 'status=none']);
  const done = once(dd, 'close');
  // It sleeps in write(2), whose number is 1.
  await until('the write to be in flight', () => readFileSync(`/proc/${dd.pid}/syscall`, 'utf8').startsWith('1 '));
  return { done };
}

/** Whether the disk itself holds the pattern there. */
function arrived(disk: string, sector: number): boolean {
  run('blockdev', '--flushbufs', disk);
  run('dd', `if=${disk}`, 'of=/run/read', 'bs=4096', 'count=1', 'iflag=direct,skip_bytes', `skip=${sector * 512}`, 'status=none');
  return readFileSync('/run/read').subarray(0, PATTERN.length).equals(PATTERN);
}

interface Slow {
  title: string;
  /** Makes a device whose writes take seconds; gives it, and the disk that holds its data. */
  create: () => Promise<{ device: string; disk?: string }>;
  remove: () => void;
}

const slow: Slow[] = [
  {
    title: 'a bio-based device (dm-delay)',
    create: () =>
      Promise.resolve({
        device: dmCreate('slow', `0 ${SECTORS} delay /dev/sdb 0 0 /dev/sdb 0 2500`),
        disk: '/dev/sdb',
      }),
    remove: () => void dmRemove('slow'),
  },
  {
    title: 'a request-based device (null_blk)',
    // 2.5 s to each request. It is its own disk: what has not completed is not there.
    create: async () => {
      run('modprobe', 'null_blk', 'nr_devices=0');
      const config = '/sys/kernel/config/nullb/nullb9';
      sh(`mkdir ${config}; cd ${config}; echo 32 > size; echo 1 > memory_backed; echo 2 > irqmode;
        echo 2500000000 > completion_nsec; echo 1 > power`);
      const name = await until('null_blk', () => readdirSync('/sys/block').find((disk) => disk.startsWith('nullb')));
      return { device: `/dev/${name}` };
    },
    remove: () => void sh('echo 0 > /sys/kernel/config/nullb/nullb9/power; rmdir /sys/kernel/config/nullb/nullb9; rmmod null_blk'),
  },
];

for (const { title, create, remove } of slow) {
  describe(`what is in flight on ${title}`, () => {
    let device: BlockDevice;
    let disk: string | undefined;

    before(async () => {
      const made = await create();
      device = await open(made.device);
      disk = made.disk;
    });

    after(async () => {
      await device.close();
      remove();
    });

    /** The write is over when the call is; and it is on the disk, where that can be looked at. */
    const drains = async (sector: number, call: () => Promise<unknown>) => {
      let over = false;
      const { done } = await write(device.path, sector);
      void done.then(() => (over = true));
      if (disk) assert.ok(!arrived(disk, sector), 'the write was not slow enough for this test');
      await call();
      if (disk) assert.ok(arrived(disk, sector), 'still in flight');
      else assert.doesNotMatch(readFileSync(`/sys/block/${basename(device.path)}/inflight`, 'utf8'), /[1-9]/);
      await done;
      assert.ok(over);
    };

    it('has completed when attach returns', () => drains(8, () => device.attach('cbt')));

    it('has completed when a checkpoint returns, and counts before it', async () => {
      const tracker = await device.filter('cbt');
      await drains(16384, () => tracker.checkpoint());
      const extents = [];
      for await (const extent of tracker.changes({ since: await markNow(tracker) })) extents.push(extent);
      assert.deepEqual(extents, [{ sector: 16384, count: 128 }]);
      for await (const extent of tracker.changes({ since: await markNow(tracker, 2) })) assert.fail(`sector ${extent.sector} changed since`);
      await tracker.detach();
    });
  });
}

describe('a write that is held back on its way', () => {
  const group = '/run/cgroup/slow';
  let path: string;
  before(() => {
    path = dmCreate('held', `0 ${SECTORS} linear /dev/sdb 0`);
  });
  after(() => void dmRemove('held'));

  for (const { by, sector, hold, release } of [
    {
      by: 'a device-mapper device that is suspended',
      sector: 1024,
      hold: () => void sh('dmsetup suspend --noflush --nolockfs held'),
      release: () => void sh('dmsetup resume held'),
    },
    {
      by: 'a limit of its control group',
      sector: 2048,
      hold: () => void sh(`mkdir -p /run/cgroup; mount -t cgroup2 none /run/cgroup; echo +io > /run/cgroup/cgroup.subtree_control;
        mkdir ${group}; echo "$(cat /sys/class/block/${basename(path)}/dev) wbps=1024" > ${group}/io.max`),
      release: () => undefined,
    },
  ]) {
    it(`by ${by}: it counts as a change when it goes on`, async () => {
      const device = await open(path);
      const tracker = await device.attach('cbt', { blockSize: '4KiB' });
      hold();
      const { done } = await write(path, sector, existsSync(group) ? group : undefined);
      const { mark } = await tracker.checkpoint();
      assert.ok(!arrived('/dev/sdb', sector), 'the write was not held back');
      release();
      await done;
      assert.ok(arrived('/dev/sdb', sector));
      const extents = [];
      for await (const extent of tracker.changes({ since: mark })) extents.push(extent);
      assert.deepEqual(extents, [{ sector, count: 8 }]);
      await tracker.detach();
      await device.close();
      sh(`[ ! -d ${group} ] || { rmdir ${group}; umount /run/cgroup; }`);
    });
  }
});

describe('a write that md holds back until a flush is done', () => {
  const members = ['/dev/sda', '/dev/sdb'];
  /** Each flush takes so many ms. */
  const flushes = (delay: number) =>
    members.map((disk) => `0 ${SECTORS / 4} delay ${disk} 0 0 ${disk} 0 0 ${disk} 0 ${delay}`);
  let paths: string[] = [];
  before(() => {
    paths = flushes(0).map((table, i) => dmCreate(`flush${i}`, table));
    mdCreate(0, paths, '--chunk=64');
    sh('mkfs.ext4 -q -F -b 4096 /dev/md0; mkdir -p /run/held; mount /dev/md0 /run/held');
  });
  after(() => {
    sh('umount /run/held');
    mdStop(...paths);
    paths.forEach((_, i) => dmRemove(`flush${i}`));
    sh(`wipefs -qa ${members.join(' ')}`);
  });

  const slowDown = (delay: number) => {
    flushes(delay).forEach((table, i) => sh(`dmsetup reload flush${i} --table '${table}'; dmsetup resume flush${i}`));
  };
  const inFlight = (): boolean => /[1-9]/.test(readFileSync('/sys/block/md0/inflight', 'utf8'));

  it('has completed when a checkpoint returns, or counts as a change when it goes on', async (t) => {
    const BLOCK = 8;
    const device = await open('/dev/md0');
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    slowDown(10000);
    // The record that ends a transaction of the journal goes with a flush before it.
    const writer = spawn('dd', ['if=/dev/zero', 'of=/run/held/file', 'bs=4096', 'count=1', 'conv=fsync', 'status=none']);
    const done = once(writer, 'close');
    // It sleeps in fsync(2), whose number is 74, and all before the flush has been written for a while.
    let idle = 0;
    await until('the flush', () => {
      const syncing = readFileSync(`/proc/${writer.pid}/syscall`, 'utf8').startsWith('74 ');
      idle = syncing && !inFlight() ? idle + 1 : 0;
      return idle === 10;
    });
    const { mark } = await tracker.checkpoint();
    const then = content('/dev/md0');
    const held = writer.exitCode === null;
    await done;
    slowDown(0);
    const later = differing(then, content('/dev/md0'), BLOCK);
    t.diagnostic(held ? `blocks that were written later: ${later.join(' ')}` : 'it had completed');
    assert.ok(!held || later.length > 0, 'nothing was held back');
    const changes = await collected(tracker.changes({ since: mark }));
    assert.deepEqual(outside(later, changes, BLOCK), [], 'written later, and not reported');
    await tracker.detach();
    await device.close();
  });
});

describe('a write that the driver of a device above has sent on, and sleeps', () => {
  const BLOCK = 8;
  const MIB = 2048;
  const names = ['first', 'second', 'striped'] as const;
  let sleeper: Actor;
  let first: string;
  let striped: string;

  before(async () => {
    loadActors({ sleeper: 500 });
    sh('dd if=/dev/urandom of=/dev/sda bs=1M count=1 oflag=direct status=none');
    first = dmCreate('first', `0 ${MIB} linear /dev/sda 0`);
    const second = dmCreate('second', `0 ${MIB} linear /dev/sdb 0`);
    striped = dmCreate('striped', `0 ${2 * MIB} striped 2 128 ${first} 0 ${second} 0`);
    sleeper = await Actor.attach(second, 'sleeper');
  });
  after(async () => {
    await sleeper.stop();
    for (const name of [...names].reverse()) dmRemove(name);
    unloadActors();
  });

  /** The striped device sends what zeroes both stripes to the first, and sleeps over the second. */
  async function zeroes(): Promise<() => Promise<void>> {
    sh('dd if=/dev/urandom of=/dev/sda bs=1M count=1 oflag=direct status=none');
    const { seen } = await sleeper.count();
    await sleeper.act('stall');
    const discard = spawn('blkdiscard', ['-z', '-l', String(MIB * 512), striped]);
    const done = once(discard, 'close');
    await until('it to sleep', async () => (await sleeper.count()).seen > seen);
    return async () => {
      await sleeper.act('pass');
      await done;
    };
  }

  for (const { title, early } of [
    { title: 'counts as a change when it goes on', early: true },
    { title: 'counts as a change when it goes on, although the first filter was attached meanwhile', early: false },
  ]) {
    it(title, async (t) => {
      const device = await open(first);
      const attach = () => device.attach('cbt', { blockSize: '4KiB' });
      const attached = early ? await attach() : undefined;
      const goesOn = await zeroes();
      const tracker = attached ?? (await attach());
      const { mark } = await tracker.checkpoint();
      const then = content(first);
      await goesOn();
      const later = differing(then, content(first), BLOCK);
      t.diagnostic(`${later.length} blocks were written later`);
      assert.ok(later.length > 0, 'nothing was held back');
      assert.deepEqual(outside(later, await collected(tracker.changes({ since: mark })), BLOCK), [], 'written later, and not reported');
      await tracker.detach();
      await device.close();
    });
  }

  it('costs nothing when no filter is attached any more', async () => {
    await sleeper.stop();
    await untilUnhooked();
    sleeper = await Actor.attach('/dev/mapper/second', 'sleeper');
  });
});

describe('an array of md whose I/O statistics are off', () => {
  const members = ['/dev/sda', '/dev/sdb'];
  /** Older versions have nothing else that tells what is in flight. */
  const unknown = release().startsWith('6.1.');
  before(() => {
    mdCreate(0, members);
    sh('echo 0 > /sys/block/md0/queue/iostats');
  });
  after(() => mdStop(...members));

  it('is refused where they alone tell what is in flight; and taken when it was started with them on', async () => {
    let device = await open('/dev/md0');
    if (unknown) {
      const refused = { code: 'ENOTSUP', hint: /iostats.*stop and start/ };
      await assert.rejects(device.attach('cbt'), refused);
      assert.deepEqual(await device.filters(), []);
      // What began before they were on again is not known (waits.test.ts).
      sh('echo 1 > /sys/block/md0/queue/iostats');
      await assert.rejects(device.attach('cbt'), refused);
      await device.close();
      mdStop(...members);
      mdCreate(0, members);
      device = await open('/dev/md0');
    }
    const tracker = await device.attach('cbt');
    await tracker.checkpoint();
    await tracker.detach();
    await device.close();
  });
});
