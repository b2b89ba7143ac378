// SPDX-License-Identifier: MIT
//
// Several devices of one moment. The truth is what is known of the files on them: each is named by the checksum of what it
// holds, and those that were there when a run began are in its copies.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterEach, before, describe, it } from 'node:test';

import { checkpoint, open, sync, type BlkfilterError, type MissingMember, type SyncPair, type SyncRun } from 'blkfilter';

import { blank, sameBytes } from './support/copies.js';
import { dmCreate, partition, scatter, unpartition } from './support/devices.js';
import { hurried } from './support/modules.js';
import { plug, unplugAll } from './support/plug.js';
import { attempt, run, sh, until } from './support/run.js';

process.env.MDADM_NO_UDEV = '1';

const KILLS = Math.min(20, Number(process.env.BLKFILTER_ROUNDS ?? 50));
const MIB = 1 << 20;
const FOLDER = '/tmp/copies';
const [A, B] = ['/dev/sda1', '/dev/sdb1'];
const done = `${FOLDER}/done`;

/** The two devices, each with a file. */
const pairs = (name: string, sources = [A, B]): SyncPair[] => sources.map((source, i) => ({ source, target: `${FOLDER}/${name}${i}` }));

interface State {
  epoch: number | null;
  complete: boolean;
  run?: { id: string; targets: string[]; consistent: boolean };
}

const stateOf = ({ target }: SyncPair): State => JSON.parse(readFileSync(`${target}.blkfilter.json`, 'utf8')) as State;

const detachAll = async (...paths: string[]): Promise<void> => {
  for (const path of paths) {
    await using device = await open(path);
    for (const { name } of await device.filters()) await device.detach(name);
  }
};

/** What of each device is missing, as a checkpoint with frozen file systems tells. */
async function missing(...paths: string[]): Promise<MissingMember[][]> {
  const devices = await Promise.all(paths.map((path) => open(path)));
  for (const device of devices) if ((await device.filters()).length === 0) await device.attach('cbt');
  const { checkpoints } = await checkpoint(devices, { freeze: true });
  for (const device of devices) await device.close();
  return checkpoints.map(({ missingMembers }) => missingMembers);
}

/** Writes files to a folder: one gets its name, its checksum, when it is on the disk; and only then is it listed. */
function writeFiles(folder: string): { stop: () => Promise<void> } {
  writeFileSync(done, '');
  const writers = [1, 2].map((writer) =>
    spawn('bash', ['-c', `cd ${folder}; for ((i = 0; ; i++)); do
      head -c $((RANDOM * 6 + 1)) /dev/urandom > t${writer}; sum=$(sha256sum < t${writer}); sum=\${sum%% *}
      sync t${writer}; mv t${writer} $sum; sync $sum .; echo $sum >> ${done}
    done`], { stdio: 'ignore', detached: true }),
  );
  return {
    stop: async () => {
      assert.deepEqual(writers.map(({ exitCode }) => exitCode), [null, null]);
      for (const { pid } of writers) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
      await until('the writers to end', () => attempt('pgrep', '-f', folder).status !== 0);
    },
  };
}

const listed = (): string[] => readFileSync(done, 'utf8').split('\n').filter(Boolean);

/** Some more files. */
async function moreFiles(count = 6): Promise<string[]> {
  const many = listed().length + count;
  return until('files', () => listed().length >= many && listed());
}

/** All files in a folder are what their names say, and those wanted are among them. */
function checkFiles(folder: string, wanted: string[]): void {
  const bad = sh(`cd ${folder}; for file in $(ls | grep -Ev '^(t|lost)'); do [ "$(sha256sum < $file)" = "$file  -" ] || echo $file; done`);
  assert.equal(bad, '');
  const there = new Set(sh(`ls ${folder}`).split('\n'));
  assert.deepEqual(wanted.filter((file) => !there.has(file)), []);
}

/** What lies on both devices, and how the two copies are put together again. */
const layouts: { title: string; sizes?: [number, number]; make: string; of: string; mount: string; unmake: string; join: string; leave: string }[] = [
  {
    title: 'a btrfs on two devices',
    make: `mkfs.btrfs -q -d raid0 -m raid1 ${A} ${B}; btrfs device scan ${A} ${B}`,
    of: '/mnt/source',
    mount: `mount ${B} /mnt/source`,
    unmake: 'btrfs device scan --forget',
    join: 'btrfs device scan $one $two; mount -o ro $one /mnt/copy',
    leave: 'umount /mnt/copy; btrfs device scan --forget; btrfs check --readonly $one',
  },
  {
    title: 'an md of two devices',
    make: `yes | mdadm --create /dev/md0 --level=0 --raid-devices=2 --run ${A} ${B}; mkfs.ext4 -q /dev/md0`,
    of: '/dev/md0',
    mount: 'mount /dev/md0 /mnt/source',
    unmake: 'mdadm --stop /dev/md0',
    join: 'mdadm --assemble /dev/md0 --run $one $two; e2fsck -fn /dev/md0; mount -o ro,noload /dev/md0 /mnt/copy',
    leave: 'umount /mnt/copy; mdadm --stop /dev/md0',
  },
  {
    title: 'an LV on two PVs',
    make: `pvcreate -q ${A} ${B}; vgcreate -q vg ${A} ${B}; lvcreate -q -i 2 -l 100%FREE -Wn -n data vg; mkfs.ext4 -q /dev/vg/data`,
    of: '/dev/dm-0',
    mount: 'mount /dev/vg/data /mnt/source',
    unmake: 'vgchange -q -an vg',
    join: 'vgchange -q -ay vg; e2fsck -fn /dev/vg/data; mount -o ro,noload /dev/vg/data /mnt/copy',
    leave: 'umount /mnt/copy; vgchange -q -an vg',
  },
  {
    title: 'an xfs with its log on another device',
    sizes: [304, 72],
    make: `mkfs.xfs -q -f -l logdev=${B} ${A}`,
    of: '/mnt/source',
    mount: `mount -o logdev=${B} ${A} /mnt/source`,
    unmake: 'true',
    // Frozen, its log holds what became of files that are open and have no name any more: mounting replays it.
    join: 'mount -o logdev=$two $one /mnt/copy',
    leave: 'umount /mnt/copy; xfs_repair -n -l $two $one',
  },
];

/** Makes the two devices, of so many MiB. */
const prepare = (one = 128, two = one): void => {
  for (const folder of [FOLDER, '/mnt/copy', '/mnt/source']) mkdirSync(folder, { recursive: true });
  partition('/dev/sda', 2048, one);
  partition('/dev/sdb', 2048, two);
};

describe('several devices', () => {
  before(() => void sh('modprobe -a loop btrfs xfs raid0 dm_mod'));
  afterEach(() => {
    for (const folder of ['/mnt/copy', '/mnt/source']) attempt('umount', '-q', folder);
    for (const command of ['mdadm --stop /dev/md0', 'vgchange -an', 'losetup -D', 'dmsetup remove_all', 'btrfs device scan --forget']) {
      attempt('sh', '-c', command);
    }
    rmSync(FOLDER, { recursive: true, force: true });
    for (const disk of ['/dev/sda', '/dev/sdb']) unpartition(disk);
    blank('/dev/sda', '/dev/sdb');
  });

  for (const [i, { title, sizes = [128, 128], make, of, mount, unmake, join, leave }] of layouts.entries()) {
    it(`${title}: copies of one run belong together, one alone is not said to be consistent`, { skip: i > 0 && hurried }, async () => {
      prepare(...sizes);
      sh(`exec 2>&1; ${make}; ${mount}`);
      const writers = writeFiles('/mnt/source');
      let known: string[] = [];
      try {
        await moreFiles();
        for (const [source, device] of [[A, B], [B, A]] as const) {
          const { consistent, missingMembers, frozen } = await sync(source, `${FOLDER}/alone`);
          assert.deepEqual({ consistent, missingMembers, frozen }, { consistent: false, missingMembers: [{ device, of }], frozen: ['/mnt/source'] });
        }
        for (const mode of ['full', 'incremental']) {
          known = await moreFiles();
          const { copies, ...all } = await sync(pairs('image'));
          assert.deepEqual([all.consistent, all.frozen, all.notFrozen], [true, ['/mnt/source'], []]);
          assert.deepEqual(copies.map((copy) => [copy.mode, copy.consistent, copy.missingMembers]), [A, B].map(() => [mode, true, []]));
          const run = { id: all.run, targets: pairs('image').map(({ target }) => target), consistent: true };
          assert.deepEqual(pairs('image').map((pair) => stateOf(pair).run), [run, run]);
        }
      } finally {
        await writers.stop();
      }
      await detachAll(A, B);
      sh(`exec 2>&1; umount /mnt/source; ${unmake}; wipefs -qaf ${A} ${B}`);
      const [one, two] = pairs('image').map(({ target }) => run('losetup', '--find', '--show', target).trim());
      sh(`exec 2>&1; one=${one}; two=${two}; ${join}`);
      checkFiles('/mnt/copy', known);
      sh(`exec 2>&1; one=${one}; two=${two}; ${leave}`);
    });
  }

  it('that belong together are known also while nothing has them in use', async () => {
    prepare();
    const cases: { make: string; unmake: string; of: RegExp }[] = [
      ...layouts.slice(0, 3).map(({ make, unmake }, i) => ({ make, unmake, of: [/^btrfs /, /^linux_raid_member /, /^LVM vg /][i] ?? /^$/ })),
      { make: `mke2fs -q -F -O journal_dev ${B}; mkfs.ext4 -q -F -J device=${B} ${A}`, unmake: 'true', of: /^journal / },
    ];
    for (const { make, unmake, of } of cases) {
      sh(`exec 2>&1; ${make}; ${unmake}`);
      // A copy of a device is no other member.
      sh(`cp --sparse=always ${A} ${FOLDER}/clone; losetup /dev/loop0 ${FOLDER}/clone`);
      assert.deepEqual(await missing(A, B), [[], []], make);
      for (const [path, other] of [[A, B], [B, A]] as const) {
        const found = (await missing(path)).flat().filter(({ device }) => device !== '/dev/loop0' || path === A);
        assert.deepEqual(found.map(({ device }) => device), [other], make);
        assert.match(found[0]?.of ?? '', of);
      }
      await detachAll(A, B);
      sh(`losetup -d /dev/loop0; wipefs -qaf ${A} ${B}`);
    }
  });

  it('a mounted ext4 with an external journal: the two are one', async () => {
    prepare();
    sh(`exec 2>&1; mke2fs -q -F -O journal_dev ${B}; mkfs.ext4 -q -F -J device=${B} ${A}; mount ${A} /mnt/source`);
    assert.deepEqual((await missing(A)).flat().map(({ device }) => device), [B]);
    const { consistent, copies } = await sync(pairs('image'));
    assert.deepEqual([consistent, copies.map(({ missingMembers }) => missingMembers)], [true, [[], []]]);
    sh('umount /mnt/source');
    await detachAll(A, B);
  });

  describe('of file systems of their own', () => {
    const mountBoth = (): void => {
      prepare(16);
      sh(`mkfs.ext4 -q ${A}; mkfs.ext4 -q ${B}; mount ${A} /mnt/source; mount ${B} /mnt/copy`);
    };
    /** That none of them is frozen. */
    const thawed = (): string => sh('for path in /mnt/source /mnt/copy; do timeout 20 touch $path/thawed; timeout 20 sync -f $path; done');

    it('are frozen once: what is written to one after the other is so in the copies', async () => {
      mountBoth();
      const writer = spawn('bash', ['-c', `for ((i = 1; ; i++)); do
        for path in /mnt/source /mnt/copy; do echo $i > $path/new; sync $path/new; mv $path/new $path/count; sync $path; done
      done`], { stdio: 'ignore', detached: true });
      const runs: SyncRun[] = [];
      try {
        await until('counting', () => attempt('test', '-e', '/mnt/copy/count').status === 0);
        for (let i = 0; i < 3; i++) runs.push(await sync(pairs('image')));
      } finally {
        process.kill(-(writer.pid ?? NaN), 'SIGKILL');
        await once(writer, 'exit');
      }
      for (const { consistent, frozen } of runs) assert.deepEqual([consistent, frozen.toSorted()], [true, ['/mnt/copy', '/mnt/source']]);
      sh('umount /mnt/source /mnt/copy');
      const [first = NaN, second = NaN] = pairs('image').map(({ target }) => {
        sh(`e2fsck -fn ${target} 2>&1; mount -o ro,loop,noload ${target} /mnt/copy`);
        const count = Number(readFileSync('/mnt/copy/count', 'utf8'));
        sh('umount /mnt/copy');
        return count;
      });
      assert.ok(first > 3 && (second === first || second === first - 1), `${first} and ${second}`);
      await detachAll(A, B);
    });

    it('blkfilter checkpoint turns them over in one window', async () => {
      mountBoth();
      for (const path of [A, B]) sh(`blkfilter attach ${path} cbt`);
      const { checkpoints, ...rest } = JSON.parse(run('blkfilter', 'checkpoint', A, B, '--freeze', '--json')) as {
        checkpoints: { device: string; generation: string; epoch: number; missingMembers: MissingMember[] }[];
        frozen: string[];
        notFrozen: string[];
      };
      assert.deepEqual(checkpoints.map(({ device, epoch, missingMembers }) => [device, epoch, missingMembers]), [[A, 2, []], [B, 2, []]]);
      assert.deepEqual([rest.frozen.toSorted(), rest.notFrozen], [['/mnt/copy', '/mnt/source'], []]);
      const text = run('blkfilter', 'checkpoint', A, B);
      assert.match(text, new RegExp(`^${A}:\n${checkpoints[0]?.generation}:3\n.*\n${B}:\n${checkpoints[1]?.generation}:3\n.*\n$`));
      const failed = attempt('blkfilter', 'checkpoint', A, '/dev/sda', '--freeze', '--json');
      assert.deepEqual([failed.status, failed.stdout, failed.stderr.includes('"code":"ENOENT"')], [1, '', true], failed.stderr);
      thawed();
      await detachAll(A, B);
    });

    it('one fails in the frozen window: no target has advanced, all are thawed, and the next run is right', async () => {
      mountBoth();
      await sync(pairs('image'), { blockSize: '4KiB' });
      const states = pairs('image').map(stateOf);
      sh('echo changed > /mnt/source/one; sync -f /mnt/source');
      let failing = false;
      await assert.rejects(
        sync(pairs('image'), {
          onProgress: ({ source }) => {
            if (source !== B || failing) return;
            // What it has to read of this one from now on fails, and there is something to read.
            failing = true;
            sh(`echo changed > /mnt/copy/two; sync -f /mnt/copy; blkfilter guard ${B} --deny read`);
          },
        }),
        { code: 'EIO' },
      );
      assert.ok(failing);
      thawed();
      for (const [i, pair] of pairs('image').entries()) {
        const { epoch, complete, run } = stateOf(pair);
        assert.deepEqual({ epoch, complete, run }, { epoch: states[i]?.epoch, complete: false, run: undefined });
      }
      sh(`blkfilter detach ${B} guard`);
      const { consistent, copies } = await sync(pairs('image'));
      assert.deepEqual([consistent, copies.map(({ reason }) => reason.includes('was cut off'))], [true, [true, true]]);
      sh('umount /mnt/source /mnt/copy');
      await sync(pairs('image'));
      for (const { source, target } of pairs('image')) {
        assert.ok(sameBytes(source, target, 16 * MIB), `${source} and ${target} differ`);
      }
      await detachAll(A, B);
    });

    it('one is pulled: no target has advanced, the other is thawed', async () => {
      mountBoth();
      sh('umount /mnt/copy');
      const pulled = await plug('dev_size_mb=64');
      sh(`mkfs.ext4 -q ${pulled}; mount ${pulled} /mnt/copy`);
      const both = pairs('image', [A, pulled]);
      await assert.rejects(
        sync(both, {
          // When all was copied once: what comes then is the last pass.
          onProgress: ({ source, done, total }) => {
            if (source === pulled && done === total) writeFileSync(`/sys/block/${basename(pulled)}/device/delete`, '1');
          },
        }),
        (error: BlkfilterError) => ['ENODEV', 'ENXIO', 'EIO', 'ENOENT'].includes(error.code),
      );
      sh('timeout 20 touch /mnt/source/thawed; timeout 20 sync -f /mnt/source');
      for (const pair of both) assert.deepEqual([stateOf(pair).complete, stateOf(pair).run], [false, undefined]);
      sh('umount -l /mnt/copy; umount /mnt/source');
      await unplugAll(pulled);
      await detachAll(A);
    });
  });

  it(`a run that is killed, ${KILLS} times: no target is said to be consistent before all are`, { skip: hurried }, async (t) => {
    mkdirSync(FOLDER, { recursive: true });
    const table = (disk: string): string => `0 ${(8 * MIB) / 512} linear ${disk} 0`;
    const sources = [dmCreate('one', table('/dev/sda')), dmCreate('two', table('/dev/sdb'))];
    const both = pairs('image', sources);
    const options = both.flatMap(({ source, target }) => ['--pair', `${source}=${target}`]);
    const equal = (): boolean => both.every(({ source, target }) => sameBytes(source, target, 8 * MIB));
    const sumOf = ({ target }: SyncPair): string => run('sha256sum', target);
    const killedAfter = async (delay: number): Promise<number> => {
      const child = spawn('blkfilter', ['sync', ...options, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      await once(child.stdout, 'data');
      child.stdout.resume();
      const began = Date.now();
      const timer = setTimeout(() => child.kill('SIGKILL'), delay);
      await ended;
      clearTimeout(timer);
      return Date.now() - began;
    };
    const whole = await killedAfter(60_000);
    assert.ok(equal());
    const ends: Record<string, number> = {};
    for (let round = 0; round < KILLS; round++) {
      const last = await sync(both);
      assert.ok(last.consistent && equal());
      const sums = both.map(sumOf);
      for (const source of sources) scatter(source, { how: 'direct', threads: 1, count: 50, max: 65536, seed: round });
      await killedAfter(((round + 0.5) / KILLS) * whole);
      const states = both.map(stateOf);
      for (const [i, { run }] of states.entries()) {
        if (!run?.consistent) continue;
        // What the last run has made of it; or what this one has, and then of both.
        if (run.id === last.run) assert.equal(sumOf(both[i] ?? assert.fail()), sums[i]);
        else assert.deepEqual([states.map((state) => state.complete && state.run?.id), equal()], [[run.id, run.id], true]);
      }
      const end = states.map(({ complete, run }) => (run?.id === last.run ? 'old' : `${complete ? '' : 'in'}complete`)).join(', ');
      ends[end] = (ends[end] ?? 0) + 1;
    }
    t.diagnostic(JSON.stringify(ends));
    await detachAll(...sources);
  });

  it('says in words what lacks, and what to do', async () => {
    prepare();
    sh(`exec 2>&1; ${layouts[0]?.make}; ${layouts[0]?.mount}`);
    const alone = run('blkfilter', 'sync', A, `${FOLDER}/alone`);
    assert.match(alone, /^missing: \/dev\/sdb1, which has a part of \/mnt\/source\nfrozen for the last pass: \/mnt\/source\nit is not of one moment with the rest: name the missing devices in the same run$/m);
    const together = run('blkfilter', 'sync', '--pair', `${A}=${FOLDER}/a`, '--pair', `${B}=${FOLDER}/b`);
    assert.match(together, /^they are what the sources were at one and the same moment$/m);
    sh('umount /mnt/source');
    await detachAll(A, B);
  });

  it('refuses a target that lies on another source, is one, or is that of two', async () => {
    prepare();
    sh(`mkfs.ext4 -q ${B}; mount ${B} /mnt/source`);
    const refused = async (first: string, second: string, code: string, words: RegExp): Promise<void> => {
      await assert.rejects(sync([{ source: A, target: first }, { source: B, target: second }]), (error: BlkfilterError) => {
        assert.deepEqual([error.code, words.test(error.message)], [code, true], error.message);
        return true;
      });
      assert.equal(sh('cat /sys/class/block/sd?1/filter').trim(), '', 'cbt was left attached');
    };
    await refused('/mnt/source/image', `${FOLDER}/b`, 'EINVAL', /lies on the source/);
    await refused('/dev/sdb', `${FOLDER}/b`, 'EINVAL', /source itself, a part/);
    await refused(`${FOLDER}/a`, `${FOLDER}/a`, 'EBUSY', /another run/);
    await assert.rejects(sync([]), { code: 'ERR_BLKFILTER_ARGUMENT' });
    await assert.rejects(sync(pairs('image'), { state: '/tmp/state' } as object), { code: 'ERR_BLKFILTER_ARGUMENT', message: /unknown option 'state'/ });
    sh('umount /mnt/source');
  });
});
