// SPDX-License-Identifier: MIT
//
// Diffs of devices that are in use, applied to files and devices. The truth is the source itself, read whole.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';

import {
  applyDiff,
  createDiff,
  diffMark,
  markParts,
  open,
  sync,
  type BlkfilterError,
  type BlockDevice,
  type ChangeTracker,
  type DiffOptions,
  type Mark,
} from 'blkfilter';

import { blank, sameBytes } from './support/copies.js';
import { dmCreate, dmRemove, scatter, type Scatter } from './support/devices.js';
import { attempt, run, sh, until } from './support/run.js';

const ROUNDS = Math.max(5, Number(process.env.BLKFILTER_ROUNDS ?? 50) / 5);
const MIB = 1 << 20;
const SIZE = 16;
const FOLDER = '/tmp/diffs';
const IMAGE = `${FOLDER}/image`;
const SOURCE = '/dev/mapper/source';

const path = (name: string): string => `${FOLDER}/${name}`;
const table = (size: number, kind = 'linear /dev/sda 0'): string => `0 ${(size * MIB) / 512} ${kind}`;

const same = (target: string, size = SIZE * MIB): void =>
  assert.ok(sameBytes(SOURCE, target, size), `${SOURCE} and ${target} differ`);

function change(seed: number, options: Partial<Scatter> = {}): void {
  const how = (['direct', 'buffered', 'discard', 'zeroout'] as const)[seed % 4] ?? 'direct';
  scatter(SOURCE, { how, threads: 2, count: 10, max: 65536, seed, ...options });
}

/** Saves a diff; gives what it leads to. */
async function save(device: BlockDevice, name: string, options: DiffOptions): Promise<Mark> {
  const diff = await createDiff(device, options);
  await diff.save(path(name));
  return diff.to;
}

/** What an error has to be: one of this package that says what to do. */
const failure = (code: string, words: RegExp) => (error: BlkfilterError): boolean => {
  assert.deepEqual([error.name, error.code], ['BlkfilterError', code], error.message);
  assert.match(error.message, words);
  assert.ok(error.hint, 'no hint');
  return true;
};

describe('a diff', () => {
  beforeEach(() => {
    mkdirSync(FOLDER, { recursive: true });
    dmCreate('source', table(SIZE));
    change(0, { count: 60 });
  });

  afterEach(() => {
    sh('umount -q /mnt/source || true; dmsetup remove_all');
    rmSync(FOLDER, { recursive: true });
    blank('/dev/sda', '/dev/sdb');
  });

  it('after the other, one by one and merged by rbd: all copies are the same', async () => {
    await using device = await open(SOURCE);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    let mark = await save(device, '0', { full: true });
    await applyDiff(path('0'), IMAGE);
    await applyDiff(path('0'), path('late'));
    await applyDiff(createReadStream(path('0')), '/dev/sdb');
    same(IMAGE);
    same('/dev/sdb');

    for (let round = 1; round <= 4; round++) {
      change(round);
      mark = await save(device, String(round), { since: mark });
      const { mark: at, copied, zeroed } = await applyDiff(path(String(round)), IMAGE);
      assert.deepEqual([at, await diffMark(path(String(round)))], [mark, mark]);
      // At most what 20 changes of up to 64 KiB cover in blocks.
      assert.ok(copied + zeroed > 0 && copied + zeroed <= 20 * 72 * 1024, `${copied} + ${zeroed} bytes`);
      await applyDiff(createReadStream(path(String(round))), '/dev/sdb');
      same(IMAGE);
      same('/dev/sdb');
    }

    sh(`cd ${FOLDER}; cp 1 merged; for i in 2 3 4; do rbd merge-diff merged $i more 2>&1; mv more merged; done`);
    run('rbd', 'merge-diff', path('0'), path('merged'), path('all'));
    await applyDiff(path('merged'), path('late'));
    const { since: begin, mark: end } = await applyDiff(path('all'), path('new'));
    assert.deepEqual([begin, end], [null, mark]);
    same(path('late'));
    same(path('new'));
    await tracker.detach();
  });

  it('and a sync take turns on one copy', async () => {
    await using device = await open(SOURCE);
    const first = await sync(SOURCE, IMAGE);
    change(1);
    const mark = await save(device, '1', { since: first.mark });
    await applyDiff(path('1'), IMAGE);
    same(IMAGE);

    change(2);
    const { mode, reason, epoch, mark: synced } = await sync(SOURCE, IMAGE);
    assert.deepEqual([mode, reason], ['incremental', `changes since epoch ${markParts(mark).epoch}`]);
    same(IMAGE);

    // One that breaks off in a pipe: sync goes on from where it began.
    change(3, { how: 'direct' });
    await save(device, '3', { since: synced });
    await assert.rejects(applyDiff(createReadStream(path('3'), { end: 100_000 }), IMAGE), { code: 'EDIFF' });
    change(4, { how: 'direct' });
    const { reason: after } = await sync(SOURCE, IMAGE);
    assert.equal(after, `changes since epoch ${epoch}: the last run was cut off`);
    same(IMAGE);
    await device.detach('cbt');
  });

  it(`after the other, ${ROUNDS} times under load: what is newer than one is in the next`, async () => {
    await using device = await open(SOURCE);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    const fio = spawn('fio', [
      '--name=load', `--filename=${SOURCE}`, '--ioengine=libaio', '--direct=1', '--iodepth=8', '--rw=randrw',
      '--bsrange=4k-64k', `--size=${SIZE}M`, '--time_based', '--runtime=3600', '--randrepeat=0', '--refill_buffers',
    ], { stdio: 'ignore' });
    try {
      let mark: Mark | undefined;
      for (let round = 0; round < ROUNDS; round++) {
        const diff = await createDiff(device, mark === undefined ? { full: true } : { since: mark });
        mark = diff.to;
        await applyDiff(diff, '/dev/sdb');
      }
      assert.equal(fio.exitCode, null, 'fio ended early');
      fio.kill('SIGINT');
      await once(fio, 'close');
      assert.ok(mark);
      await applyDiff(await createDiff(device, { since: mark }), '/dev/sdb');
      same('/dev/sdb');
    } finally {
      fio.kill('SIGKILL');
    }
    await tracker.detach();
  });

  it('of a device that grows, and then is smaller', async () => {
    await using device = await open(SOURCE);
    const tracker = await device.attach('cbt');
    const resize = (size: number): string =>
      sh(`dmsetup suspend source; dmsetup load source --table '${table(size)}'; dmsetup resume source`);
    let mark = await save(device, '0', { full: true });
    await applyDiff(path('0'), IMAGE);
    // What it will get, which is not zero.
    sh(`dd if=/dev/urandom of=/dev/sda bs=1M seek=${SIZE} count=8 oflag=direct status=none`);
    for (const [name, size] of [['larger', SIZE + 8], ['smaller', SIZE - 8]] as const) {
      resize(size);
      change(size, { how: 'direct' });
      mark = await save(device, name, { since: mark });
      assert.equal((await applyDiff(path(name), IMAGE)).size, size * MIB);
      same(IMAGE, size * MIB);
      assert.equal(run('stat', '-c', '%s', IMAGE).trim(), String(size * MIB));
    }
    run('rbd', 'merge-diff', path('larger'), path('smaller'), path('both'));
    await applyDiff(path('0'), IMAGE);
    await applyDiff(path('both'), IMAGE);
    same(IMAGE, (SIZE - 8) * MIB);
    await tracker.detach();
  });

  it('at the command line, through pipes that break, too', async () => {
    await using device = await open(SOURCE);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    const { generation } = await tracker.info();
    const pipe = (...commands: string[]) =>
      attempt('bash', '-c', `${commands.map((one) => `blkfilter ${one}`).join(' | ')}; echo "\${PIPESTATUS[@]}"`);
    const piped = pipe(`diff ${SOURCE} --full --json`, 'apply - /dev/sdb --json');
    const { copied, zeroed, ...made } = JSON.parse(piped.stderr) as Record<string, unknown>;
    const head = { since: null, mark: `${generation}:2`, size: SIZE * MIB };
    assert.deepEqual(made, { device: SOURCE, output: null, ...head });
    const [answer = '', statuses] = piped.stdout.split('\n');
    assert.equal(statuses, '0 0', piped.stderr);
    assert.deepEqual(JSON.parse(answer), { target: '/dev/sdb', ...head, copied, zeroed });
    same('/dev/sdb');

    change(1, { how: 'direct' });
    const broken = pipe(`diff ${SOURCE} --since ${generation.slice(0, 8)}:2 | head -c 100000`, 'apply - /dev/sdb');
    assert.match(broken.stderr, /^error: EPIPE: whoever reads it ended before its end$/m);
    assert.match(broken.stderr, /^error: EDIFF: applied to the first \d+ bytes of the target .*cut off/m);
    assert.match(broken.stdout, /^1 \d+ 1\n$/);

    // The same again is another diff, since the same mark.
    const save = (since: string, name: string) => {
      const flags = ['--since', since, '--output', path(name), '--name', 'nightly', '--json'];
      const file = attempt('blkfilter', 'diff', SOURCE, ...flags);
      assert.deepEqual([file.status, file.stderr], [0, '']);
      const { since: from, mark, output } = JSON.parse(file.stdout) as Record<string, unknown>;
      assert.equal(output, path(name));
      return [from, mark];
    };
    assert.deepEqual(save(`${generation}:2`, '2'), [`${generation}:2`, `${generation}:4`]);
    assert.match(run('blkfilter', 'apply', path('2'), '/dev/sdb'), new RegExp(`^/dev/sdb is at ${generation}:4\n`));
    same('/dev/sdb');

    // The next is since that one, which its file says, and the name as well. One that fails leaves the name where it is.
    change(2, { how: 'direct' });
    const failed = attempt('blkfilter', 'diff', SOURCE, '--since', 'nightly', '--name', 'nightly', '--output', '/tmp/none/diff');
    assert.equal(failed.status, 1);
    assert.deepEqual(save(path('2'), '3'), [`${generation}:4`, `${generation}:5`]);
    run('blkfilter', 'apply', path('3'), '/dev/sdb');
    same('/dev/sdb');
    assert.deepEqual(save('nightly', '4'), [`${generation}:5`, `${generation}:6`]);
    await tracker.detach();
  });

  it('that is interrupted leaves no file', async () => {
    dmRemove('source');
    dmCreate('source', table(SIZE, 'delay /dev/sda 0 100'));
    await using device = await open(SOURCE);
    await device.attach('cbt');
    const child = spawn('blkfilter', ['diff', SOURCE, '--full', '--output', path('cut'), '--json'], {
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    await until('the diff to begin', () => readdirSync(FOLDER).length > 0);
    child.kill('SIGINT');
    const [status] = (await once(child, 'close')) as [number | null];
    assert.deepEqual([status, readdirSync(FOLDER)], [1, []]);
    assert.match(errors, /"code":"EINTR".*run it again/);
    await device.detach('cbt');
  });

});

describe('a diff', () => {
  let device: BlockDevice;
  let tracker: ChangeTracker;

  before(async () => {
    mkdirSync(FOLDER, { recursive: true });
    dmCreate('source', table(SIZE));
    device = await open(SOURCE);
    tracker = await device.attach('cbt');
  });

  afterEach(() => {
    sh(`umount -q /mnt/source || true; umount -q ${FOLDER} || true; dmsetup remove above 2>/dev/null || true`);
  });

  after(async () => {
    await tracker.detach();
    await device.close();
    dmRemove('source');
    rmSync(FOLDER, { recursive: true });
    blank('/dev/sda', '/dev/sdb');
  });

  describe('refuses', () => {
    interface Row {
      title: string;
      prepare?: () => unknown;
      options?: object;
      output?: string;
      code: string;
      words: RegExp;
    }
    const generation = '11111111-2222-3333-4444-555555555555';
    const rows: Row[] = [
      {
        title: 'another generation',
        options: { since: `${generation}:1` },
        code: 'EGENERATION',
        words: /tracking had a gap/,
      },
      {
        title: 'an epoch to come',
        options: { since: 999, anyGeneration: true },
        code: 'EINVAL',
        words: /epoch 999 has not begun, the current one is/,
      },
      { title: 'epoch 0', options: { since: 0, anyGeneration: true }, code: 'ERR_BLKFILTER_ARGUMENT', words: /diff.since/ },
      { title: 'no mark', options: {}, code: 'ERR_BLKFILTER_ARGUMENT', words: /either since a mark, or full/ },
      {
        title: 'both',
        options: { since: `${generation}:1`, full: true },
        code: 'ERR_BLKFILTER_ARGUMENT',
        words: /either since a mark, or full/,
      },
      {
        title: 'any generation without a number',
        options: { full: true, anyGeneration: true },
        code: 'ERR_BLKFILTER_ARGUMENT',
        words: /goes with the number of an epoch/,
      },
      {
        title: 'the number of an epoch alone',
        options: { since: 1 },
        code: 'ERR_BLKFILTER_ARGUMENT',
        words: /1 is the number of an epoch/,
      },
      {
        title: 'an unknown option',
        options: { sinse: 1 },
        code: 'ERR_BLKFILTER_ARGUMENT',
        words: /unknown option 'sinse'/,
      },
      { title: 'a folder to write to', output: FOLDER, code: 'EISDIR', words: /a folder/ },
      { title: 'a device to write to', output: '/dev/sdb', code: 'EEXIST', words: /something else/ },
      { title: 'a folder that is not there', output: '/tmp/none/diff', code: 'ENOENT', words: /no such file/ },
      {
        title: 'a full disk',
        prepare: () => {
          scatter(SOURCE, { how: 'direct', threads: 1, count: 10, max: 65536, seed: 1 });
          sh(`mount -t tmpfs -o size=64k none ${FOLDER}`);
        },
        code: 'ENOSPC',
        words: /no space left/,
      },
      {
        title: 'a file on the device itself',
        prepare: () => sh(`mkfs.ext4 -q -F ${SOURCE}; mkdir -p /mnt/source; mount ${SOURCE} /mnt/source`),
        output: '/mnt/source/diff',
        code: 'EINVAL',
        words: /lies on \/dev\/mapper\/source itself/,
      },
    ];
    for (const { title, prepare, options = { full: true }, output = path('refused'), code, words } of rows) {
      it(title, async () => {
        const { epoch } = await tracker.checkpoint();
        prepare?.();
        const attempted = createDiff(device, options as DiffOptions).then((diff) => diff.save(output));
        await assert.rejects(attempted, failure(code, words));
        assert.deepEqual(readdirSync(FOLDER), []);
        // One that cannot begin takes no checkpoint.
        const begun = 'full' in options && code !== 'ERR_BLKFILTER_ARGUMENT';
        assert.equal((await tracker.info()).epoch, begun ? epoch + 1 : epoch);
      });
    }
  });

  it('at the command line that cannot be written takes no checkpoint', async () => {
    sh(`mkfs.ext4 -q -F ${SOURCE}; mkdir -p /mnt/source; mount ${SOURCE} /mnt/source`);
    const { epoch } = await tracker.checkpoint();
    for (const [output, words] of [
      [FOLDER, /^error: EISDIR/],
      ['/dev/no-such-disk', /^error: ENOENT: no such device/],
      ['/tmp/none/diff', /^error: ENOENT: no such file/],
      ['/mnt/source/diff', /^error: EINVAL: it lies on/],
    ] as const) {
      const { status, stderr } = attempt('blkfilter', 'diff', SOURCE, '--full', '--output', output);
      assert.equal(status, 1);
      assert.match(stderr, words);
    }
    assert.equal((await tracker.info()).epoch, epoch);
  });

  it('refuses a device without cbt', async () => {
    await using other = await open('/dev/sdb');
    await assert.rejects(createDiff(other, { full: true }), { code: 'ENOENT', message: /'cbt' is not attached/ });
  });

  describe('is not applied to', () => {
    const rows: { title: string; prepare: () => unknown; to: string; code: string; words: RegExp }[] = [
      {
        title: 'a device that is mounted',
        prepare: () => sh('mkfs.ext4 -q -F /dev/sdb; mkdir -p /mnt/source; mount /dev/sdb /mnt/source'),
        to: '/dev/sdb',
        code: 'EBUSY',
        words: /mounted/,
      },
      {
        title: 'a device that is smaller',
        prepare: () => dmCreate('above', '0 2048 linear /dev/sdb 0'),
        to: '/dev/mapper/above',
        code: 'ENOSPC',
        words: /the device has 1 MiB, and 16 MiB are needed/,
      },
      {
        title: 'a part of what is in use',
        prepare: () => dmCreate('above', '0 2048 linear /dev/sdb 0'),
        to: '/dev/sdb',
        code: 'EBUSY',
        words: /part of something else/,
      },
      {
        title: 'a character device',
        prepare: () => undefined,
        to: '/dev/null',
        code: 'EINVAL',
        words: /neither a file nor/,
      },
    ];
    for (const { title, prepare, to, code, words } of rows) {
      it(title, async () => {
        await save(device, '0', { full: true });
        prepare();
        await assert.rejects(applyDiff(path('0'), to), failure(code, words));
        assert.ok(!existsSync(`/run/blkfilter/${run('cat', '/sys/block/sdb/dev').trim()}.json`));
      });
    }
  });
});
