// SPDX-License-Identifier: MIT
//
// The filter guard: what it denies has not happened, what it delays happens later, and it counts what it decides. The truth
// is the disk's checksum, the kernel's statistics, and what the programs that do the I/O are told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { release } from 'node:os';
import { basename } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';

import { open, readOnly, type BlockDevice, type Guard, type GuardOptions, type GuardRule } from 'blkfilter';
import { native, type NativeRule } from '#lib/native.js';

import { Actor, loadActors, unloadActors } from './support/actor.js';
import { dmCreate, dmRemove, filters, mdCreate, mdStop, partition, unpartition } from './support/devices.js';
import { collected, markNow, union } from './support/extents.js';
import { Nulls } from './support/nulls.js';
import { clearDisks, prepareStacks, rows } from './support/paths.js';
import { plug, unplug, unplugAll } from './support/plug.js';
import { attempt, program, run, sh, until } from './support/run.js';
import { statistics } from './support/witness.js';

const DISK = '/dev/sda';
const MIB = 2048;
const EIO = -5;

/**
 * What `readOnly` denies today, but by name, so that the disk is not marked read-only: else the kernel itself refuses much
 * before guard is asked. test/guest/blocker.test.ts is about both.
 */
const denyChanges: GuardRule = {
  action: 'deny',
  operations: ['write', 'discard', 'secure-erase', 'write-zeroes', 'zone-append', 'zone-finish', 'zone-reset'],
  error: 'EIO',
};

/** One block, directly. */
const dd = (...more: string[]): string[] => ['bs=4k', 'count=1', 'status=none', ...more];
const write = (path: string, ...more: string[]) =>
  attempt('dd', 'if=/dev/urandom', `of=${path}`, 'oflag=direct', ...dd(...more));
const read = (path: string, ...more: string[]) => attempt('dd', `if=${path}`, 'of=/dev/null', 'iflag=direct', ...dd(...more));

/** The same in the background; gives its end and how long it took. */
function inBackground(...command: [string, ...string[]]): Promise<{ status: number | null; ms: number; output: string }> {
  const [name, ...args] = command;
  const began = performance.now();
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, ms: performance.now() - began, output })));
}
const writing = (path: string, ...more: string[]) =>
  inBackground('dd', 'if=/dev/urandom', `of=${path}`, 'oflag=direct', ...dd(...more));

const checksum = (path: string, mib: number): string =>
  sh(`dd if=${path} bs=1M count=${mib} iflag=direct status=none | md5sum`);

/** Runs with a guard on a device, and takes it off. */
async function guarded(path: string, options: GuardOptions, use: (guard: Guard, device: BlockDevice) => unknown): Promise<void> {
  await using device = await open(path);
  const guard = await device.attach('guard', options);
  try {
    await use(guard, device);
  } finally {
    await guard.detach();
  }
}

const applied = async (guard: Guard): Promise<number[]> => (await guard.counters()).rules.map((rule) => rule.applied);
const held = async (guard: Guard): Promise<number> => (await guard.counters()).held;

describe('guard', () => {
  before(() => void run('modprobe', 'blkfilter_guard'));
  after(() => void run('rmmod', 'blkfilter_guard'));
  afterEach(() => assert.equal(sh('cat /sys/class/block/*/filter'), ''));

  describe('rules', () => {
    it('deny, count, and are replaced', () =>
      guarded(DISK, { rules: [denyChanges] }, async (guard) => {
        assert.match(write(DISK).stderr, /Input\/output error/);
        assert.equal(read(DISK).status, 0);
        const { rules, default: rest } = await guard.counters();
        assert.deepEqual(rules, [{ ...denyChanges, applied: 1 }]);
        assert.deepEqual(rest, { action: 'pass', applied: 1 });
        await guard.setRules({});
        assert.deepEqual(await guard.counters(), { rules: [], default: { action: 'pass', applied: 0 }, held: 0 });
        assert.equal(write(DISK).status, 0);
      }));

    it('deny what is left of a write that is going on, piece by piece', async () => {
      // 256 pieces of 50 ms each, one at a time, so that most of it is still to come.
      const nulls = new Nulls(1, { irqmode: 2, completion_nsec: 50_000_000, hw_queue_depth: 1, blocksize: 4096 });
      const [path] = nulls.devices as [string];
      try {
        sh(`echo 4 > /sys/block/${basename(path)}/queue/max_sectors_kb; echo none > /sys/block/${basename(path)}/queue/scheduler`);
        await guarded(path, {}, async (guard) => {
          const written = (): number => statistics(path).written;
          const before = written();
          const writer = inBackground('dd', 'if=/dev/zero', `of=${path}`, 'oflag=direct', 'bs=1M', 'count=1', 'status=none');
          await until('the first pieces', () => written() - before >= 32);
          await guard.setRules({ rules: [readOnly] });
          const then = written();
          const { status, output } = await writer;
          assert.equal(written(), then, 'written although it is denied');
          assert.ok(then - before < 2048, 'the write was over before it could be denied');
          assert.notEqual(status, 0);
          assert.match(output, /Input\/output error/);
        });
      } finally {
        nulls.powerOff();
        nulls.remove();
      }
    });

    it('come back as they were given', async () => {
      const rules: GuardRule[] = [
        { action: 'deny', operations: ['read', 'secure-erase', 'zone-append', 'other'], error: 'EILSEQ', range: { sector: 8, count: 8 } },
        { action: 'delay', delay: 3_600_000, range: { sector: 2 ** 40 }, pid: 4_000_000, chance: 0.000001 },
        { action: 'pass', cgroup: 123_456 },
        { action: 'pass', range: { sector: 0 } },
      ];
      const rest = { action: 'deny', error: 'ENOSPC' } as const;
      await guarded(DISK, { rules, default: rest }, async (guard) => {
        const counters = await guard.counters();
        assert.deepEqual(counters.rules, rules.map((rule) => ({ ...rule, applied: 0 })));
        assert.deepEqual({ ...counters.default, applied: 0 }, { ...rest, applied: 0 });
      });
    });

    it('the first that applies decides; ranges are of this device, and touched by any sector', async () => {
      partition(DISK, 2048, 100);
      const rules: GuardRule[] = [
        { action: 'pass', operations: ['write'], range: { sector: 16, count: 8 } },
        { action: 'deny', operations: ['write'], range: { sector: 15, count: 1 } },
        { action: 'deny', operations: ['write'], range: { sector: 24 } },
      ];
      await guarded(`${DISK}1`, { rules }, async (guard) => {
        const statuses = [0, 1, 2, 3, 4].map((block) => write(`${DISK}1`, `seek=${block}`).status);
        assert.deepEqual(statuses, [0, 1, 0, 1, 1]);
        // To the whole disk, where the partition begins at block 256.
        assert.deepEqual([write(DISK, 'seek=255').status, write(DISK, 'seek=257').status], [0, 1]);
        assert.deepEqual(await applied(guard), [1, 2, 2]);
      });
      unpartition(DISK);
    });

    it('give each errno as it is', async () => {
      const names = Object.keys(native().guard.errors);
      const rules = names.map((error, i): GuardRule => ({ action: 'deny', error, range: { sector: 8 * i, count: 8 } }));
      await guarded(DISK, { rules }, async (_, device) => {
        for (const [i, name] of names.entries()) {
          const errno = -(native().guard.errors[name] ?? NaN);
          await assert.rejects(device.read(8 * i, 8), (error: { errno?: number }) => error.errno === errno, name);
        }
      });
    });

    it('a flush passes a write blocker, and is denied by its own name', async () => {
      const flush = () => attempt('dd', 'if=/dev/null', `of=${DISK}`, 'conv=fsync', 'count=0', 'status=none').status;
      const within = [{ sector: 0, count: 1 }, { sector: 0 }].map((range): GuardRule => ({ action: 'deny', operations: ['flush'], range }));
      await guarded(DISK, { rules: [readOnly, ...within] }, async (guard) => {
        assert.equal(flush(), 0);
        assert.deepEqual(await applied(guard), [0, 0, 0]);
        await guard.setRules({ rules: [{ action: 'deny', operations: ['flush'] }] });
        assert.equal(flush(), 1);
        assert.equal(write(DISK).status, 0);
        assert.deepEqual(await applied(guard), [1]);
      });
    });

    it('of a process: it, and nobody else', () =>
      guarded(DISK, { rules: [{ action: 'deny', pid: process.pid }] }, async (guard, device) => {
        await assert.rejects(device.read(0, 8), (error: { errno?: number }) => error.errno === EIO);
        assert.equal(read(DISK).status, 0);
        assert.deepEqual(await applied(guard), [1]);
      }));

    it('of a control group: what it does, and what is written back for it', async () => {
      const cgroup = '/sys/fs/cgroup/guarded/below';
      sh(`mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
        echo '+io +memory' > /sys/fs/cgroup/cgroup.subtree_control; mkdir -p ${cgroup}`);
      const within = (line: string) => attempt('sh', '-euc', `echo $$ > ${cgroup}/cgroup.procs; ${line}`).status;
      sh(`mkfs.ext4 -qF -E lazy_itable_init=0 ${DISK} 64M; mkdir -p /run/mnt; mount ${DISK} /run/mnt; sync -f /run/mnt`);
      await guarded(DISK, { rules: [{ action: 'deny', cgroup: '/sys/fs/cgroup/guarded' }] }, async (guard) => {
        assert.equal(read(DISK).status, 0);
        assert.equal(within(`dd if=${DISK} of=/dev/null bs=4k count=1 iflag=direct`), 1);
        assert.deepEqual(await applied(guard), [1]);
        await guard.setRules({ rules: [{ action: 'pass', operations: ['write'], cgroup: '/sys/fs/cgroup/guarded' }] });
        assert.equal(within('head -c 64K /dev/zero > /run/mnt/file'), 0);
        assert.deepEqual(await applied(guard), [0]);
        sh('sync -f /run/mnt');
        const [written = 0] = await applied(guard);
        assert.ok(written > 0, 'what was written back belonged to nobody');
        await assert.rejects(guard.setRules({ rules: [{ action: 'pass', cgroup }] }), /does not account the I\/O/);
        await assert.rejects(guard.setRules({ rules: [{ action: 'pass', cgroup: '/tmp' }] }), /not a control group/);
      });
      sh('umount /run/mnt');
      await until('the groups to be empty', () => attempt('rmdir', cgroup, '/sys/fs/cgroup/guarded').status === 0);
    });

    it('by chance', () =>
      guarded(DISK, { rules: [{ action: 'deny', operations: ['read'], chance: 0.2 }] }, async (guard) => {
        const { stdout } = attempt('fio', '--name=chance', `--filename=${DISK}`, '--ioengine=libaio', '--direct=1', '--rw=randread', '--bs=4k',
          '--size=16M', '--io_size=8M', '--iodepth=8', '--continue_on_error=all', '--output-format=json');
        const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: [{ total_err: number }] };
        const [count = 0] = await applied(guard);
        assert.equal(jobs[0].total_err, count);
        // Of 2048, a fifth; ten standard deviations off.
        assert.ok(count > 410 - 180 && count < 410 + 180, `${count} failed`);
      }));

    it('that make no sense are refused by the kernel, and those before them stay', async () => {
      const api = native().guard;
      const { always, delayMax, actions, operations } = api;
      const { pass = 0, deny = 0, delay = 0 } = actions;
      const good: NativeRule = { sector: 0, count: 0, cgroup: 0, operations: operations.read ?? 0, pid: 0, action: deny, argument: 5, chance: always };
      const bad: Partial<NativeRule>[] = [
        { operations: 0 },
        { operations: 1 << 13 },
        { action: 0 },
        { action: 4 },
        { action: pass },
        { argument: 0 },
        { argument: 1 }, // EPERM
        { argument: 11 }, // EAGAIN
        { argument: 30 }, // EROFS
        { argument: 78 }, // EREMCHG
        { argument: 4096 },
        { argument: 0xffff_fffb },
        { action: delay, argument: 0 },
        { action: delay, argument: delayMax + 1 },
        { chance: 0 },
        { chance: always + 1 },
      ];
      await guarded(DISK, { rules: [readOnly] }, async (guard) => {
        const handle = await native().open(DISK);
        const refused = (set: NativeRule[], rest = { action: pass, argument: 0 }) =>
          assert.rejects(api.setRules(handle, set, rest), { errno: -22 }, JSON.stringify(set.at(-1)));
        for (const rule of bad) await refused([good, { ...good, ...rule }]);
        await refused([good], { action: deny, argument: 0 });
        await refused(Array.from({ length: 1025 }, () => good));
        await handle.close();

        // The struct: rules, counters, count, action, argument, held. A range that overflows, and what is reserved.
        const struct = (...words: [bigint, bigint, number, number, number, number]) => {
          const bytes = Buffer.alloc(32);
          words.slice(0, 2).forEach((word, i) => bytes.writeBigUInt64LE(BigInt(word), 8 * i));
          words.slice(2).forEach((word, i) => bytes.writeUInt32LE(Number(word), 16 + 4 * i));
          return bytes;
        };
        const results: [number, Buffer, string][] = [
          [1, struct(0n, 1n, 0, pass, 0, 0), 'EINVAL'],
          [1, struct(0n, 0n, 0, pass, 0, 1), 'EINVAL'],
          [1, struct(1n, 0n, 1, pass, 0, 0), 'EFAULT'],
          [1, Buffer.alloc(31), 'EINVAL'],
          [2, struct(0n, 0n, 0, 0, 0, 0), 'EMSGSIZE'],
          [2, struct(0n, 0n, 1, 0, 0, 0), 'EFAULT'],
          [3, Buffer.alloc(32), 'ENOTTY'],
        ];
        for (const [command, data, code] of results) await assert.rejects(guard.ctl(command, data), { code });
        const ctl = [program('raw-ioctl'), DISK, 'ctl', 'guard', '1', '32'];
        assert.match(attempt('setpriv', '--bounding-set=-sys_admin', ...ctl).stdout, /EPERM/);
        assert.deepEqual((await guard.counters()).rules, [{ ...readOnly, applied: 0 }]);
      });
      // What the API itself refuses on attaching leaves nothing attached.
      await using device = await open(DISK);
      await assert.rejects(device.attach('guard', { rules: [{ action: 'pass', cgroup: '/tmp' }] }), /not a control group/);
      assert.deepEqual(filters(DISK), []);
    });
  });

  const known = !release().startsWith('6.1.') && 'this kernel knows what is in flight, whatever the statistics say';
  it('stays attached when its rules are in force and only what came before is not known to be over', { skip: known }, async () => {
    const array = mdCreate(0, [DISK, '/dev/sdb']);
    const statisticsOf = '/sys/block/md0/queue/iostats';
    // The control group is looked at when guard is there and its rules are not yet. Then its I/O statistics go off.
    const cgroup = '/run/group';
    sh(`mkdir ${cgroup}; mkfifo ${cgroup}/cgroup.procs`);
    const between = inBackground('sh', '-euc', `exec 3> ${cgroup}/cgroup.procs; echo 0 > ${statisticsOf}`);
    const device = await open(array);
    const attaching = device.attach('guard', { rules: [denyChanges, { action: 'pass', cgroup }] });
    await assert.rejects(attaching, { code: 'ENOTSUP', message: /attached and the new rules are in force/ });
    assert.equal((await between).status, 0);
    assert.deepEqual(filters(array), ['guard']);
    assert.match(write(array).stderr, /Input\/output error/);
    sh(`echo 1 > ${statisticsOf}`);
    const guard = await device.filter('guard');
    // What began before they were on again is not known.
    await assert.rejects(guard.setRules({ rules: [denyChanges] }), { code: 'ENOTSUP', hint: /stop .* start/ });
    await guard.detach();
    await device.close();
    mdStop(DISK, '/dev/sdb');
    sh(`rm -r ${cgroup}`);
  });

  describe('delays', () => {
    const hour: GuardRule = { action: 'delay', operations: ['write'], delay: '60m' };

    it('last as long as they say, each its own', () =>
      guarded(
        DISK,
        {
          rules: [
            { action: 'delay', operations: ['write'], delay: 800, range: { sector: 0, count: 8 } },
            { action: 'delay', operations: ['write'], delay: 200 },
          ],
        },
        async (guard) => {
          const [long, short] = await Promise.all([writing(DISK), writing(DISK, 'seek=1')]);
          assert.deepEqual([long.status, short.status], [0, 0]);
          assert.ok(long.ms >= 800 && short.ms >= 200, `${long.ms} and ${short.ms} ms`);
          assert.deepEqual(await applied(guard), [1, 1]);
          assert.equal(await held(guard), 0);
        },
      ));

    it('do not keep up the driver of a device above', async () => {
      const top = dmCreate('above', `0 65536 linear ${DISK} 0`);
      await guarded(DISK, { rules: [{ action: 'delay', delay: 300 }] }, async (guard) => {
        const fio = inBackground('fio', '--name=delay', `--filename=${top}`, '--ioengine=libaio', '--direct=1', '--rw=randwrite', '--bs=4k',
          '--size=16M', '--io_size=256K', '--iodepth=16', '--verify=crc32c');
        // From one task, which would never come to the second if it had to wait for the first.
        await until('many to be held', async () => (await held(guard)) >= 8);
        assert.equal((await fio).status, 0);
      });
      dmRemove('above');
    });

    it('end when guard is detached', async () => {
      await using device = await open(DISK);
      const guard = await device.attach('guard', { rules: [hour] });
      const done = writing(DISK);
      await until('the write to be held', async () => (await held(guard)) === 1);
      await guard.detach();
      assert.equal((await done).status, 0);
    });

    it('end when the rules are replaced: the write is over by then', () =>
      guarded(DISK, { rules: [hour] }, async (guard) => {
        const done = writing(DISK);
        await until('the write to be held', async () => (await held(guard)) === 1);
        const { written } = statistics(DISK);
        await guard.setRules({ rules: [denyChanges] });
        assert.equal(statistics(DISK).written, written + 8);
        assert.equal((await done).status, 0);
        assert.match(write(DISK).stderr, /Input\/output error/);
      }));

    it('end when the disk goes', async () => {
      const disk = await plug();
      const device = await open(disk);
      const guard = await device.attach('guard', { rules: [hour] });
      const done = writing(disk);
      await until('the write to be held', async () => (await held(guard)) === 1);
      unplug(disk);
      await done;
      await device.close();
      await unplugAll(disk);
    });

    it('end when a driver that keeps its queue frozen says that the disk is gone', async () => {
      // Not of SCSI, which sends a last command to its disk when that is removed, and would wait for the queue.
      const nulls = new Nulls(1);
      const [disk] = nulls.devices as [string];
      loadActors({ driver: 900 });
      const driver = await Actor.attach(disk, 'driver');
      const device = await open(disk);
      const guard = await device.attach('guard', { rules: [hour] });
      const done = writing(disk);
      await until('the write to be held', async () => (await held(guard)) === 1);
      await driver.killFrozen();
      assert.match((await done).output, /Input\/output error/);
      await driver.close();
      await device.close();
      nulls.powerOff();
      nulls.remove();
      unloadActors();
    });
  });

  it('a rescan of the partitions leaves it where it is', async () => {
    partition(DISK, 2048, 100);
    await guarded(`${DISK}1`, { rules: [readOnly] }, () => undefined);
    const device = await open(`${DISK}1`);
    await device.attach('guard', { rules: [denyChanges] });
    await device.close();
    run('blockdev', '--rereadpt', DISK);
    assert.deepEqual(filters(`${DISK}1`), ['guard']);
    assert.match(write(`${DISK}1`).stderr, /Input\/output error/);
    run('blkfilter', 'detach', `${DISK}1`, 'guard');
    unpartition(DISK);
  });

  describe('with cbt', () => {
    it('cbt sees what guard delays and passes, and not what it denies, while the rules change', async () => {
      await using device = await open(DISK);
      const tracker = await device.attach('cbt', { blockSize: 4096 });
      const guard = await device.attach('guard');
      assert.deepEqual(filters(DISK), ['cbt', 'guard']);
      const state = { running: true };
      // A write that is delayed may land after one to the same place that came later: fio must not have both under way.
      const fio = inBackground('fio', '--name=both', `--filename=${DISK}`, '--ioengine=libaio', '--direct=1', '--rw=randwrite', '--bs=4k',
        '--offset=16M', '--size=16M', '--io_size=6M', '--iodepth=8', '--verify=crc32c', '--norandommap', '--serialize_overlap=1').finally(() => (state.running = false));
      let rounds = 0;
      for (; state.running; rounds++) {
        await guard.setRules({ rules: [{ action: 'delay', delay: 1 + (rounds % 7), chance: 0.5 }, { action: 'deny', range: { sector: 0, count: 8 } }] });
        await guard.setRules(rounds % 2 ? {} : { rules: [{ action: 'delay', delay: 500 }] });
      }
      const { status, output } = await fio;
      assert.equal(status, 0, output);
      assert.ok(rounds > 0);
      await guard.setRules({ rules: [denyChanges] });
      const { mark } = await tracker.checkpoint();
      assert.equal(write(DISK, 'seek=100').status, 1);
      // cbt sees a bio at its last step. A denied bio never gets there.
      assert.deepEqual(await collected(tracker.changes({ since: mark })), []);
      const changed = union(await collected(tracker.changes({ since: await markNow(tracker) })));
      assert.ok(changed.reduce((sum, { count }) => sum + count, 0) > MIB);
      await guard.detach();
      await tracker.detach();
    });
  });

  describe('as a write blocker', () => {
    before(prepareStacks);
    after(clearDisks);

    /** Those who do the I/O are told. mkfs.btrfs has its own words, and fio does not ask how the last fsync of its io_uring engine went. */
    const attemptTo = (title: string, use: () => void) => {
      if (title.endsWith('buffered, io_uring')) return use();
      assert.throws(use, /(Input\/output|Remote I\/O) error|err(or)?= ?(5|121)\b|error during mkfs/i);
    };

    // Stacks are built once for all their uses.
    const patient = rows.filter(({ hangs }) => !hangs);
    const stacks = [...new Set(patient.map(({ build }) => build))].map((build) => patient.filter((row) => row.build === build));

    // Wherever in a stack a request begins, what is written to the disks at its foot is denied.
    for (const uses of stacks) {
      it(uses.map(({ title }) => title).join('; '), async (test) => {
        const possible = uses.filter(({ have }) => !have || have());
        const [{ build, tear } = {}] = possible;
        if (!build) return test.skip('not in this kernel');
        const stack = await build();
        const [upper = [], , lower = []] = stack;
        const disks = lower.length ? lower : upper;
        const devices = await Promise.all(disks.map(open));
        try {
          const guards = await Promise.all(devices.map((device) => device.attach('guard', { rules: [denyChanges] })));
          const denied = async () => (await Promise.all(guards.map(applied))).flat().reduce((sum, count) => sum + count, 0);
          const written = () => disks.map((disk) => ({ ...statistics(disk), read: 0 }));
          const before = { sums: disks.map((disk) => checksum(disk, 40)), written: written(), denied: await denied() };
          for (const { title, use } of possible) {
            attemptTo(title, () => void use(upper[0] ?? '', stack));
            sh('sync');
            assert.deepEqual(written(), before.written, title);
            const now = await denied();
            assert.ok(now > before.denied, `nothing was denied: ${title}`);
            before.denied = now;
          }
          assert.deepEqual(disks.map((disk) => checksum(disk, 40)), before.sums);
        } finally {
          await Promise.all(devices.map((device) => device.detach('guard')));
          await Promise.all(devices.map((device) => device.close()));
          attempt('umount', '--quiet', '/run/mnt');
          await tear?.(stack);
        }
      });
    }
  });

  describe('as a write blocker for a dirty file system', () => {
    const folder = '/run/mnt';
    const size = 320;
    before(() => void sh(`mkdir -p ${folder}`));

    const kinds = [
      { type: 'ext4', make: 'mkfs.ext4 -qF -E lazy_itable_init=0', without: 'ro,noload' },
      { type: 'xfs', make: 'mkfs.xfs -qf', without: 'ro,norecovery' },
    ];
    for (const { type, make, without } of kinds) {
      it(`${type}: its journal is not replayed, and nothing changes`, async () => {
        // The power fails after a file was written: what lies in the journal is not yet in its place.
        const live = dmCreate('live', `0 ${size * MIB} linear ${DISK} 0`);
        sh(`modprobe -q ${type} || true; ${make} ${live}; mount ${live} ${folder}; mkdir ${folder}/deep; head -c 1M /dev/urandom > ${folder}/deep/file
          sync -f ${folder}; for i in $(seq 50); do echo $i > ${folder}/deep/$i; done; sync ${folder}/deep/* ${folder}/deep
          dmsetup wipe_table --nolockfs --noflush live; umount ${folder}`);
        dmRemove('live');

        const before = checksum(DISK, size);
        const { written } = statistics(DISK);
        await guarded(DISK, {}, async (guard) => {
          for (const rule of [denyChanges, readOnly]) {
            for (const options of ['rw', 'ro']) {
              await guard.setRules({ rules: [rule] });
              assert.notEqual(attempt('mount', '-t', type, '-o', options, DISK, folder).status, 0, options);
              const [count = 0] = await applied(guard);
              if (rule === denyChanges) assert.ok(count > 0, 'there was nothing to replay');
              // The replay has changed what the page cache holds of the disk.
              run('blockdev', '--flushbufs', DISK);
            }
          }
          // The disk can be looked at all the same.
          sh(`mount -t ${type} -o ${without} ${DISK} ${folder}; ls ${folder} > /dev/null; umount ${folder}`);
        });
        assert.equal(statistics(DISK).written, written);
        assert.equal(checksum(DISK, size), before);

        // It was dirty, and nothing was lost.
        sh(`mount -t ${type} ${DISK} ${folder}; test "$(cat ${folder}/deep/50)" = 50; umount ${folder}; wipefs -qa ${DISK}`);
        assert.notEqual(checksum(DISK, size), before);
      });
    }
  });

  it('on the command line', () => {
    const guard = (...args: string[]) => JSON.parse(run('blkfilter', 'guard', DISK, ...args, '--json')) as Record<string, unknown>;
    assert.match(attempt('blkfilter', 'guard', DISK).stderr, /not attached/);
    const rest = { action: 'pass', applied: 0 };
    const typed = guard('--delay', 'write:8-15:1ms', '--deny', 'write:0-15:ENOSPC', '--read-only');
    assert.deepEqual(typed.rules, [
      { ...readOnly, applied: 0 },
      { action: 'delay', operations: ['write'], delay: 1, range: { sector: 8, count: 8 }, applied: 0 },
      { action: 'deny', operations: ['write'], error: 'ENOSPC', range: { sector: 0, count: 16 }, applied: 0 },
    ]);
    assert.deepEqual({ ...(typed.default as object), applied: 0 }, rest);
    assert.equal(guard('--deny', 'write:0-7:ENOSPC', '--fail', 'discard:7%', '--pass', 'all').held, 0);
    assert.match(write(DISK).stderr, /No space left/);
    assert.equal(write(DISK, 'seek=1').status, 0);
    const text = run('blkfilter', 'guard', DISK);
    assert.match(text, /^deny ENOSPC +write +0-7 +any +100% +1$/m);
    assert.match(text, /^deny EIO +discard +all +any +7% +0$/m);
    assert.match(text, /^pass +all +all +any +100% +\d+$/m);
    run('blkfilter', 'detach', DISK, 'guard');
  });
});
