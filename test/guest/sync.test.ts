// SPDX-License-Identifier: MIT
//
// Copies of devices that are in use. The truth is the source itself, read whole and compared, or what is known of the files
// on it: each is named by the checksum of what it holds.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterEach, before, describe, it } from 'node:test';

import { open, sync, type BlkfilterError, type SyncResult } from 'blkfilter';

import { Freeze } from '#lib/freeze.js';

import { blank, sameBytes } from './support/copies.js';
import { dmCreate, dmRemove, partition, scatter, unpartition } from './support/devices.js';
import { hurried } from './support/modules.js';
import { plug, unplugAll } from './support/plug.js';
import { attempt, run, sh, until } from './support/run.js';

const ROUNDS = Number(process.env.BLKFILTER_ROUNDS ?? 50);
const KILLS = Math.min(50, ROUNDS);
const INCREMENTALS = Math.min(25, ROUNDS);
const MIB = 1 << 20;
const SIZE = 16;
const FOLDER = '/tmp/copies';
const IMAGE = `${FOLDER}/image`;

const detachAll = async (...paths: string[]): Promise<void> => {
  for (const path of paths) {
    await using device = await open(path);
    for (const { name } of await device.filters()) await device.detach(name);
  }
};

/** A small source: a disk of some MiB, so that reading all of it takes no time. */
const source = (): string => dmCreate('source', `0 ${(SIZE * MIB) / 512} linear /dev/sda 0`);

const changeSome = (device: string, seed: number, count = 20): void => {
  scatter(device, { how: 'direct', threads: 1, count, max: 65536, seed });
};

const same = (from: string, to: string, size = SIZE * MIB): void =>
  assert.ok(sameBytes(from, to, size), `${from} and ${to} differ`);

describe('sync', () => {
  before(() => void run('modprobe', 'loop'));
  afterEach(() => {
    sh('losetup -D');
    for (const folder of ['/mnt/copy', '/mnt/source', FOLDER]) attempt('umount', '-q', folder);
    sh('dmsetup remove_all');
    rmSync(FOLDER, { recursive: true, force: true });
    for (const disk of ['/dev/sda', '/dev/sdb']) unpartition(disk);
    blank('/dev/sda', '/dev/sdb');
  });

  for (const target of [IMAGE, '/dev/sdb']) {
    it(`to ${target === IMAGE ? 'a file' : 'a device'}: all of it, then ${INCREMENTALS} times what changed`, async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = source();
      changeSome(from, 1000, 100);
      const first = await sync(from, target, { blockSize: '4KiB', verify: true });
      assert.equal(first.mode, 'full');
      assert.deepEqual([first.consistent, first.verified], [true, SIZE * MIB]);
      same(from, target);
      for (let round = 1; round <= INCREMENTALS; round++) {
        const how = (['direct', 'buffered', 'discard', 'zeroout'] as const)[round % 4] ?? 'direct';
        scatter(from, { how, threads: 1, count: 20, max: 65536, seed: round });
        const { mode, reason, consistent, copied, zeroed } = await sync(from, target);
        assert.deepEqual([mode, consistent], ['incremental', true], reason);
        assert.ok(copied + zeroed > 0 && copied + zeroed <= 25 * 72 * 1024, `${copied} + ${zeroed} bytes`);
        same(from, target);
      }
      const idle = await sync(from, target);
      assert.deepEqual([idle.copied, idle.zeroed], [0, 0]);
      await detachAll(from);
    });
  }

  it('zero blocks become holes', async () => {
    mkdirSync(FOLDER, { recursive: true });
    const from = source();
    sh(`dd if=/dev/urandom of=${from} bs=1M count=8 oflag=direct status=none`);
    await sync(from, IMAGE);
    const taken = (): number => Number(run('du', '--block-size=1M', IMAGE).split('\t')[0]);
    assert.equal(taken(), 8);
    sh(`blkdiscard -z -l 4M ${from}`);
    await sync(from, IMAGE);
    assert.equal(taken(), 4);
    same(from, IMAGE);
    await detachAll(from);
  });

  describe('cut off', () => {
    it(`by SIGKILL, ${KILLS} times: the next run is right`, async (t) => {
      mkdirSync(FOLDER, { recursive: true });
      const from = source();
      /** Runs it, and kills it so many ms after its first word, unless it ended before; gives its status, and how long that took. */
      const killedAfter = async (delay: number): Promise<{ status: number | null; took: number }> => {
        const child = spawn('blkfilter', ['sync', from, IMAGE, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
        const ended = once(child, 'exit') as Promise<[number | null]>;
        await once(child.stdout, 'data');
        const began = Date.now();
        const timer = setTimeout(() => child.kill('SIGKILL'), delay);
        const [status] = await ended;
        clearTimeout(timer);
        return { status, took: Date.now() - began };
      };
      // How long one takes that is not killed: the kills are spread over that, however fast the machine is.
      const whole = await killedAfter(60_000);
      assert.equal(whole.status, 0);
      const ends: Record<string, number> = {};
      for (let round = 0; round < KILLS; round++) {
        changeSome(from, round, 200);
        // Now and then it is the first copy.
        if (round % 8 === 0) rmSync(IMAGE, { force: true });
        const hadCopy = existsSync(IMAGE);
        const { status } = await killedAfter((round / KILLS) * whole.took);
        const { mode, reason } = await sync(from, IMAGE);
        // Killed at the very end, when all was done and said.
        const done = status === 0 || /^changes since epoch \d+$/.test(reason);
        assert.equal(mode, done || hadCopy ? 'incremental' : 'full', reason);
        if (!done) assert.match(reason, hadCopy ? /was cut off/ : /was not finished/);
        same(from, IMAGE);
        const end = `${done ? 'done before' : 'killed'}, ${mode}`;
        ends[end] = (ends[end] ?? 0) + 1;
      }
      t.diagnostic(JSON.stringify(ends));
      assert.ok(Object.keys(ends).some((end) => end.startsWith('killed')), 'no run was killed');
      await detachAll(from);
    });

    it('by SIGINT: it says what the next run will do', async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = dmCreate('source', `0 ${(SIZE * MIB) / 512} delay /dev/sda 0 50`);
      const child = spawn('blkfilter', ['sync', from, IMAGE, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
      let errors = '';
      child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
      await once(child.stdout, 'data');
      child.kill('SIGINT');
      const [status] = (await once(child, 'close')) as [number | null];
      assert.equal(status, 1);
      assert.match(errors, /"code":"EINTR".*run it again/);
      assert.match((await sync(from, IMAGE)).reason, /was not finished/);
      same(from, IMAGE);
      await detachAll(from);
    });

    it('by the end of whoever reads how far it is: that is a failure', async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = dmCreate('source', `0 ${(SIZE * MIB) / 512} delay /dev/sda 0 100`);
      const piped = attempt('bash', '-c', `blkfilter sync ${from} ${IMAGE} --json | head -n 1; echo "\${PIPESTATUS[@]}"`);
      assert.match(piped.stdout, /^\{"event":"progress".*\n1 0\n$/);
      assert.match(piped.stderr, /"code":"EPIPE".*ended before its end/);
      assert.match((await sync(from, IMAGE)).reason, /was not finished/);
      await detachAll(from);
    });

    it('by its signal: what others write to the file then is noticed', async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = source();
      await sync(from, IMAGE);
      changeSome(from, 1);
      const reason = new Error('enough');
      await assert.rejects(sync(from, IMAGE, { signal: AbortSignal.abort(reason) }), reason);
      assert.match((await sync(from, IMAGE)).reason, /was cut off/);
      changeSome(from, 2);
      await assert.rejects(sync(from, IMAGE, { signal: AbortSignal.abort(reason) }), reason);
      sh(`dd if=/dev/urandom of=${IMAGE} bs=4k count=1 conv=notrunc status=none`);
      assert.match((await sync(from, IMAGE)).reason, /somebody else has written/);
      same(from, IMAGE);
      await detachAll(from);
    });

    it('by a full disk, and by a target that fails: an error that says so, and the next run is right', async () => {
      mkdirSync(FOLDER, { recursive: true });
      sh(`mount -t tmpfs -o size=4M none ${FOLDER}`);
      const from = source();
      changeSome(from, 1, 5);
      await sync(from, IMAGE);
      sh(`dd if=/dev/urandom of=${from} bs=1M count=12 oflag=direct status=none`);
      await assert.rejects(sync(from, IMAGE), { code: 'ENOSPC', path: IMAGE });
      sh(`mount -o remount,size=64M ${FOLDER}`);
      assert.match((await sync(from, IMAGE)).reason, /was cut off/);
      same(from, IMAGE);
      sh(`umount ${FOLDER}`);

      const table = (kind: string): string => `0 ${(SIZE * MIB) / 512} ${kind}`;
      const target = dmCreate('target', table('linear /dev/sdb 0'));
      await sync(from, target);
      changeSome(from, 2, 40);
      const load = (kind: string): string => sh(`dmsetup suspend target; dmsetup load target --table '${table(kind)}'; dmsetup resume target`);
      load('error');
      await assert.rejects(sync(from, target), { code: 'EIO' });
      load('linear /dev/sdb 0');
      const { mode, reason } = await sync(from, target);
      assert.equal(mode, 'incremental', reason);
      same(from, target);
      await detachAll(from);
      dmRemove('target');
    });

    it('by a source that is pulled: an error, and all is copied when it comes back', async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = await plug('dev_size_mb=32', 'delay=20', 'ndelay=2000000');
      await assert.rejects(
        sync(from, IMAGE, { onProgress: () => writeFileSync(`/sys/block/${basename(from)}/device/delete`, '1') }),
        (error: BlkfilterError) => ['ENODEV', 'ENXIO', 'EIO', 'ENOENT'].includes(error.code),
      );
      await unplugAll(from);
      const again = await plug('dev_size_mb=32');
      assert.equal((await sync(again, IMAGE)).mode, 'full');
      same(again, IMAGE, 32 * MIB);
      await detachAll(again);
      await unplugAll(again);
    });
  });

  it('all is copied where the changes are not known, with the reason', async () => {
    mkdirSync(FOLDER, { recursive: true });
    const from = source();
    const expect = async (mode: SyncResult['mode'], reason: RegExp, options = {}): Promise<void> => {
      const result = await sync(from, IMAGE, options);
      assert.deepEqual([result.mode, reason.test(result.reason)], [mode, true], result.reason);
      same(from, IMAGE);
    };
    await expect('full', /no copy yet/);
    await expect('incremental', /changes since/);
    await expect('full', /asked for/, { full: true });
    await detachAll(from);
    changeSome(from, 5);
    await expect('full', /new generation .*attached/);
    sh(`dd if=/dev/urandom of=${IMAGE} bs=4k count=1 conv=notrunc status=none`);
    await expect('full', /somebody else has written/);
    sh(`cp --sparse=always ${IMAGE} ${IMAGE}.new; mv ${IMAGE}.new ${IMAGE}`);
    await expect('full', /another one/);
    rmSync(`${IMAGE}.blkfilter.json`);
    await expect('full', /nothing is known/);
    await detachAll(from);
  });

  it('a device is known by each of its names', async () => {
    mkdirSync(FOLDER, { recursive: true });
    const from = source();
    changeSome(from, 6);
    const other = dmCreate('other', `0 ${(SIZE * MIB) / 512} linear /dev/sda ${(SIZE * MIB) / 512}`);
    await sync(from, '/dev/sdb');
    symlinkSync('/dev/sdb', `${FOLDER}/disk`);
    assert.equal((await sync(from, `${FOLDER}/disk`)).mode, 'incremental');
    await sync(other, `${FOLDER}/disk`);
    assert.equal((await sync(from, '/dev/sdb')).mode, 'full');
    same(from, '/dev/sdb');
    await detachAll(from, other);
  });

  it('a device is not taken for one that had its numbers before the machine restarted', async () => {
    mkdirSync(FOLDER, { recursive: true });
    const from = source();
    const state = `${FOLDER}/state`;
    await sync(from, '/dev/sdb', { state });
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const known = readFileSync(state, 'utf8');
    assert.ok(known.includes(boot));
    writeFileSync(state, known.replace(boot, '11111111-2222-3333-4444-555555555555'));
    assert.match((await sync(from, '/dev/sdb', { state })).reason, /is another one/);
    await detachAll(from);
  });

  it('a copy that is not the same is found, and made anew by the next run', async () => {
    const from = source();
    changeSome(from, 7, 100);
    await sync(from, '/dev/sdb');
    // A device cannot tell that somebody else wrote to it.
    sh('dd if=/dev/urandom of=/dev/sdb bs=4k seek=1000 count=1 oflag=direct status=none');
    await assert.rejects(sync(from, '/dev/sdb', { verify: true }), { code: 'EVERIFY', message: /1 places, the first at sector 8000 \(8 / });
    const { mode, reason } = await sync(from, '/dev/sdb', { verify: true });
    assert.deepEqual([mode, reason], ['full', 'the last full copy was not finished']);
    same(from, '/dev/sdb');
    await detachAll(from);
  });

  it('a copy is compared as it is on the disk, not in memory', async () => {
    const from = source();
    changeSome(from, 8, 100);
    const target = dmCreate('target', `0 ${(SIZE * MIB) / 512} linear /dev/sdb 0`);
    await assert.rejects(
      sync(from, target, {
        verify: true,
        onProgress: ({ phase, done }) => {
          if (phase === 'verify' && done === 0) {
            sh('dd if=/dev/urandom of=/dev/sdb bs=4k seek=1000 count=1 oflag=direct status=none');
          }
        },
      }),
      { code: 'EVERIFY', message: /1 places, the first at sector 8000 \(8 / },
    );
    await detachAll(from);
  });

  // Small ones: the first copy reads all of it, while the writers want the CPU too.
  for (const { type, size, mkfs, check, mount } of [
    { type: 'ext4', size: 128, mkfs: 'mkfs.ext4 -q', check: 'e2fsck -fn $image', mount: 'noload' },
    // Frozen, its log holds what became of files that are open and have no name any more: mounting replays it.
    { type: 'xfs', size: 320, mkfs: 'mkfs.xfs -q', check: 'mount -o loop,nouuid $image /mnt/copy; umount /mnt/copy; xfs_repair -n $image', mount: 'nouuid' },
    // Two of one UUID cannot be mounted.
    { type: 'btrfs', size: 320, mkfs: 'mkfs.btrfs -q', check: 'btrfs check --readonly $image; btrfstune -fu $image', mount: 'norecovery' },
  ]) {
    it(`a live ${type}: the copy is clean, and its files are what they were`, { skip: type !== 'ext4' && hurried }, async () => {
      mkdirSync(FOLDER, { recursive: true });
      mkdirSync('/mnt/source', { recursive: true });
      mkdirSync('/mnt/copy', { recursive: true });
      partition('/dev/sda', 2048, size);
      sh(`${mkfs} /dev/sda1; mount /dev/sda1 /mnt/source`);
      const done = `${FOLDER}/done`;
      writeFileSync(done, '');
      // A file gets its name, its checksum, when it is on the disk; and only then is it listed. Old ones are removed.
      const writers = [1, 2].map((writer) =>
        spawn('bash', ['-c', `cd /mnt/source; for ((i = 0; ; i++)); do
          head -c $((RANDOM * 8 + 1)) /dev/urandom > t${writer}; sum=$(sha256sum < t${writer}); sum=\${sum%% *}
          sync t${writer}; mv t${writer} $sum; sync $sum .; echo $sum >> ${done}
          ((i % 3)) || rm -f "$(ls -tr | grep -Ev '^(t|lost)' | head -n 1)"
        done`], { stdio: 'ignore', detached: true }),
      );
      try {
        for (const pass of [1, 2, 3]) {
          await until('files', () => readFileSync(done, 'utf8').split('\n').length > 8 * pass);
          const result = await sync('/dev/sda1', IMAGE);
          assert.deepEqual(result.frozen, ['/mnt/source']);
          assert.deepEqual([result.mode, result.consistent], [pass === 1 ? 'full' : 'incremental', true], result.reason);
          // Each checker fails when it finds something to repair, or a log that was not replayed.
          sh(`image=${FOLDER}/checked; cp --sparse=always ${IMAGE} $image; exec 2>&1; ${check}`);
          sh(`mount -o ro,loop,${mount} ${FOLDER}/checked /mnt/copy`);
          const files = sh('cd /mnt/copy; ls | grep -Ev "^(t|lost)" || true').split('\n').filter(Boolean);
          assert.ok(files.length > 4, `${files.length} files`);
          sh('cd /mnt/copy; for file in $(ls | grep -Ev "^(t|lost)"); do [ "$(sha256sum < $file)" = "$file  -" ] || { echo $file; exit 1; }; done');
          sh(`umount /mnt/copy; rm ${FOLDER}/checked`);
          assert.deepEqual(writers.map(({ exitCode }) => exitCode), [null, null]);
        }
      } finally {
        for (const { pid } of writers) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
        await until('the writers to end', () => attempt('pgrep', '-f', '/mnt/source').status !== 0);
        sh('umount /mnt/source');
        await detachAll('/dev/sda1');
      }
    });
  }

  it('file systems are thawed when the process that froze them is killed, at whatever moment', async () => {
    mkdirSync(FOLDER, { recursive: true });
    mkdirSync('/mnt/source', { recursive: true });
    const from = source();
    sh(`mkfs.ext4 -q ${from}; mount ${from} /mnt/source`);
    const script = `
      import { open } from 'blkfilter';
      const device = await open('${from}');
      const tracker = (await device.filters()).length > 0 ? await device.filter('cbt') : await device.attach('cbt');
      console.log(JSON.stringify(await tracker.checkpoint({ freeze: true })));
      while (true) await tracker.checkpoint({ freeze: true });
    `;
    for (const delay of [0, 20, 50, 100, 150, 200]) {
      const child = spawn('node', ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      assert.deepEqual((JSON.parse(line.toString()) as { frozen: string[] }).frozen, ['/mnt/source']);
      // It freezes once more, or has, or thaws.
      await new Promise((resolve) => setTimeout(resolve, delay));
      child.kill('SIGKILL');
      await once(child, 'exit');
      sh('timeout 20 touch /mnt/source/thawed; timeout 20 sync -f /mnt/source/thawed');
    }
    await detachAll(from);
  });

  describe('a freeze', () => {
    /** Freezes /mnt/source; gives the process that keeps it so. */
    const frozen = async (): Promise<{ freeze: Freeze; guard: string }> => {
      mkdirSync('/mnt/source', { recursive: true });
      const from = source();
      sh(`mkfs.ext4 -q ${from}; mount ${from} /mnt/source`);
      const freeze = await Freeze.above(basename(from));
      assert.deepEqual(freeze?.frozen, ['/mnt/source']);
      return { freeze, guard: run('pgrep', '-P', String(process.pid), '-x', 'sh').trim() };
    };

    it('ends when what keeps it is killed, and that is an error', async () => {
      const { freeze, guard } = await frozen();
      process.kill(Number(guard), 'SIGKILL');
      // Not only when it is thawed.
      const touched = spawn('touch', ['/mnt/source/thawed']);
      assert.deepEqual(await once(touched, 'exit'), [0, null]);
      await assert.rejects(freeze.thaw(), { code: 'EPROTO', message: /interrupted/ });
    });

    it('that ended too early is none', async () => {
      const { freeze, guard } = await frozen();
      // As when the time is up.
      sh(`pkill -KILL -P $(pgrep -P ${guard} -x timeout)`);
      await assert.rejects(freeze.thaw(), { code: 'ETIMEDOUT', message: /\(\/mnt\/source\) were thawed after 60 seconds/ });
      assert.deepEqual([freeze.frozen, freeze.failed.map(({ path }) => path)], [[], ['/mnt/source']]);
      sh('touch /mnt/source/thawed');
    });
  });

  it('a file system with another one mounted over it: neither is frozen, and the other may hold the copy', async () => {
    mkdirSync('/mnt/source', { recursive: true });
    const from = source();
    sh(`mkfs.ext4 -q ${from}; mount ${from} /mnt/source; mkfs.ext4 -q -F /dev/sdb; mount /dev/sdb /mnt/source`);
    const { frozen, notFrozen } = await sync(from, '/mnt/source/image');
    assert.deepEqual([frozen, notFrozen], [[], [{ path: '/mnt/source', reason: 'something else is mounted over it' }]]);
    sh('umount /mnt/source');
    await detachAll(from);
  });

  describe('refuses', () => {
    const rows: { title: string; prepare?: () => void; from?: string; to: string; code: string; words: RegExp; options?: object }[] = [
      { title: 'a target that is mounted', prepare: () => sh('mkfs.ext4 -q /dev/sdb; mkdir -p /mnt/copy; mount /dev/sdb /mnt/copy'), to: '/dev/sdb', code: 'EBUSY', words: /mounted/ },
      { title: 'the source itself', to: '/dev/mapper/source', code: 'EINVAL', words: /source itself/ },
      { title: 'a part of the source', prepare: () => partition('/dev/sdb', 2048, 8), from: '/dev/sdb', to: '/dev/sdb1', code: 'EINVAL', words: /source itself, a part/ },
      { title: 'a device built on the source', prepare: () => void dmCreate('above', `0 ${(SIZE * MIB) / 512} linear /dev/mapper/source 0`), to: '/dev/mapper/above', code: 'EINVAL', words: /built on it/ },
      { title: 'a loop device of a file on the source', prepare: () => sh(`mkfs.ext4 -q /dev/mapper/source; mkdir -p /mnt/source; mount /dev/mapper/source /mnt/source; truncate -s ${SIZE}M /mnt/source/file; losetup /dev/loop0 /mnt/source/file`), to: '/dev/loop0', code: 'EINVAL', words: /built on it/ },
      { title: 'a loop device of the source', prepare: () => sh('losetup /dev/loop0 /dev/mapper/source'), to: '/dev/loop0', code: 'EINVAL', words: /built on it/ },
      { title: 'a target that is smaller', prepare: () => void dmCreate('small', '0 2048 linear /dev/sdb 0'), to: '/dev/mapper/small', code: 'ENOSPC', words: /1 MiB, and 16 MiB are needed/ },
      { title: 'a file on the source', prepare: () => sh('mkfs.ext4 -q /dev/mapper/source; mkdir -p /mnt/source; mount /dev/mapper/source /mnt/source'), to: '/mnt/source/image', code: 'EINVAL', words: /lies on the source/ },
      { title: 'a folder', to: '/tmp', code: 'EINVAL', words: /neither a file nor a block device/ },
      { title: 'a folder that is not there', to: '/tmp/none/image', code: 'ENOENT', words: /no such file/ },
      { title: 'a source that is a file', from: '/etc/passwd', to: IMAGE, code: 'ENOTBLK', words: /not a block device/ },
      { title: 'options that it does not know', to: IMAGE, code: 'ERR_BLKFILTER_ARGUMENT', words: /unknown option 'frees'/, options: { frees: true } },
      { title: 'a block size that cbt does not take', to: IMAGE, code: 'ERR_BLKFILTER_ARGUMENT', words: /power of two/, options: { blockSize: 5000 } },
      { title: 'a state that is damaged', prepare: () => { writeFileSync(IMAGE, ''); writeFileSync(`${IMAGE}.blkfilter.json`, '{"version":1'); }, to: IMAGE, code: 'EPROTO', words: /state of the copy makes no sense/ },
    ];
    for (const { title, prepare, from, to, code, words, options } of rows) {
      it(title, async () => {
        mkdirSync(FOLDER, { recursive: true });
        source();
        prepare?.();
        await assert.rejects(sync(from ?? '/dev/mapper/source', to, options), (error: BlkfilterError) => {
          assert.deepEqual([error.code, words.test(error.message)], [code, true], error.message);
          assert.ok(error.hint, 'no hint');
          return true;
        });
        if (from === undefined && code !== 'EPROTO') assert.deepEqual(sh('cat /sys/block/dm-*/filter').trim(), '', 'cbt was left attached');
        await detachAll('/dev/mapper/source');
        if (to === IMAGE && code === 'ERR_BLKFILTER_ARGUMENT') assert.ok(!existsSync(IMAGE), 'a file was left');
      });
    }

    it('a target that another run writes to', async () => {
      mkdirSync(FOLDER, { recursive: true });
      const from = source();
      let second: Promise<unknown> | undefined;
      await sync(from, IMAGE, {
        onProgress: () => {
          second ??= assert.rejects(sync(from, IMAGE), { code: 'EBUSY' });
        },
      });
      await second;
      assert.ok(second);
      await detachAll(from);
    });
  });
});
