// SPDX-License-Identifier: MIT
//
// The path table: each way that I/O can take to a device, with a witness on every device along it. The kernel's own
// statistics are the truth: a witness must have seen as many sectors as its device has read and written, so that none was
// missed and none seen twice.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import { dmCreate, dmRemove, partition, unpartition } from './support/devices.js';
import { program, run, sh } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness, Watch } from './support/witness.js';

const MIB = 2048;
const MD = 'MDADM_NO_UDEV=1 mdadm';

interface Row {
  title: string;
  /** Builds the stack; gives the device that is used, and those below it that are watched too. */
  build?: () => { top: string; below: string[] };
  /** Uses the top. */
  use: (top: string) => void;
  tear?: () => void;
}

const disk = () => ({ top: '/dev/sda', below: [] });
const fio = (engine: string, direct: 0 | 1, ...more: string[]) => (top: string) =>
  void run(
    'fio', '--name=path', `--filename=${top}`, `--ioengine=${engine}`, `--direct=${direct}`, '--rw=randrw', '--bsrange=4k-128k',
    '--size=32M', '--io_size=4M', '--iodepth=8', '--end_fsync=1', '--invalidate=1', ...more,
  );
const anyhow = (top: string) => {
  fio('libaio', 1)(top);
  fio('psync', 0)(top);
  run('blkdiscard', '-z', '-o', '1048576', '-l', '1048576', top);
};
const fileSystem = (make: string) => (top: string) => {
  sh(`modprobe -q ${make} || true; mkfs.${make} ${make === 'ext4' ? '-qF' : '-qf'} ${top}; mkdir -p /run/mnt; mount ${top} /run/mnt
    head -c 8M /dev/urandom > /run/mnt/file; sync; cp /run/mnt/file /run/mnt/copy; rm /run/mnt/file; fstrim /run/mnt || true
    echo 3 > /proc/sys/vm/drop_caches; cat /run/mnt/copy > /dev/null; umount /run/mnt; wipefs -qa ${top}`);
};

const disks = ['/dev/sda', '/dev/sdb', '/dev/sdc'];
const partitions = () => disks.forEach((name) => partition(name, 2048, 200, 200));
const noPartitions = () => disks.forEach(unpartition);

const raid = (level: number, ...members: string[]) => ({
  build: () => {
    if (members.some((member) => /[0-9]$/.test(member))) partitions();
    sh(`yes | ${MD} --create /dev/md0 --level=${level} --raid-devices=${members.length} --run --assume-clean \\
      ${level ? `--bitmap=none --size=${100 * 1024}` : ''} ${members.join(' ')} 2>&1`);
    return { top: '/dev/md0', below: [...new Set([...members, ...members.map((member) => member.slice(0, 8))])] };
  },
  tear: () => {
    sh(`${MD} --stop /dev/md0 2>&1; wipefs -qa ${members.join(' ')}`);
    if (members.some((member) => /[0-9]$/.test(member))) noPartitions();
  },
});

const rows: Row[] = [
  { title: 'a disk, direct, libaio', build: disk, use: fio('libaio', 1) },
  { title: 'a disk, direct, io_uring', build: disk, use: fio('io_uring', 1) },
  { title: 'a disk, buffered', build: disk, use: fio('psync', 0) },
  { title: 'a disk, buffered, io_uring', build: disk, use: fio('io_uring', 0) },
  { title: 'a disk, mmap', build: disk, use: fio('mmap', 0) },
  {
    title: 'a disk, discard, write zeroes, punch',
    build: disk,
    use: (top) => sh(`blkdiscard -o 0 -l 64M ${top}; blkdiscard -z -o 64M -l 32M ${top}
      fallocate -p -o 100M -l 1M ${top}; fallocate -z -o 102M -l 1M ${top}`),
  },
  {
    title: 'a partition and its disk',
    build: () => (partitions(), { top: '/dev/sda1', below: ['/dev/sda'] }),
    use: anyhow,
    tear: noPartitions,
  },
  {
    title: 'dm-linear over two partitions',
    build: () => {
      partitions();
      const top = dmCreate('path', `0 ${16 * MIB} linear /dev/sda2 0`, `${16 * MIB} ${16 * MIB} linear /dev/sdb1 0`);
      return { top, below: ['/dev/sda2', '/dev/sdb1', '/dev/sda', '/dev/sdb'] };
    },
    use: anyhow,
    tear: () => (dmRemove('path'), noPartitions()),
  },
  {
    title: 'dm-crypt over a disk',
    build: () => ({
      top: dmCreate('path', `0 ${500 * MIB} crypt aes-xts-plain64 ${'5a'.repeat(32)} 0 /dev/sda 0`),
      below: ['/dev/sda'],
    }),
    use: anyhow,
    tear: () => void dmRemove('path'),
  },
  {
    title: 'dm-thin',
    build: () => {
      sh('dd if=/dev/zero of=/dev/sdb bs=4096 count=1 conv=fsync status=none');
      const pool = dmCreate('pool', `0 ${500 * MIB} thin-pool /dev/sdb /dev/sda 128 0`);
      run('dmsetup', 'message', 'pool', '0', 'create_thin 0');
      return { top: dmCreate('path', `0 ${200 * MIB} thin ${pool} 0`), below: ['/dev/sda', '/dev/sdb'] };
    },
    use: anyhow,
    tear: () => (dmRemove('path'), dmRemove('pool'), sh('wipefs -qa /dev/sdb')),
  },
  {
    title: 'dm-snapshot: the origin',
    build: () => {
      partitions();
      sh('dd if=/dev/zero of=/dev/sdb1 bs=4096 count=1 conv=fsync status=none');
      dmCreate('snap', `0 ${100 * MIB} snapshot /dev/sda1 /dev/sdb1 P 16`);
      return { top: dmCreate('path', `0 ${100 * MIB} snapshot-origin /dev/sda1`), below: ['/dev/sda1', '/dev/sda', '/dev/sdb1', '/dev/sdb'] };
    },
    use: anyhow,
    tear: () => (dmRemove('path'), dmRemove('snap'), noPartitions()),
  },
  { title: 'md raid0 over disks', ...raid(0, '/dev/sda', '/dev/sdb'), use: anyhow },
  { title: 'md raid0 over partitions', ...raid(0, '/dev/sda1', '/dev/sdb2'), use: anyhow },
  { title: 'md raid1 over disks', ...raid(1, '/dev/sda', '/dev/sdb'), use: anyhow },
  { title: 'md raid1 over partitions', ...raid(1, '/dev/sda2', '/dev/sdb1'), use: anyhow },
  { title: 'md raid5 over disks', ...raid(5, '/dev/sda', '/dev/sdb', '/dev/sdc'), use: anyhow },
  { title: 'md raid5 over partitions', ...raid(5, '/dev/sda1', '/dev/sdb2', '/dev/sdc1'), use: anyhow },
  {
    title: 'loop on a file',
    build: () => {
      sh('mkfs.ext4 -qF -E lazy_itable_init=0 /dev/sdb; mkdir -p /run/below; mount /dev/sdb /run/below; truncate -s 128M /run/below/file');
      return { top: sh('losetup -f --show /run/below/file').trim(), below: ['/dev/sdb'] };
    },
    use: anyhow,
    tear: () => sh('losetup -D; umount /run/below; wipefs -qa /dev/sdb'),
  },
  { title: 'ext4', build: disk, use: fileSystem('ext4') },
  { title: 'xfs', build: disk, use: fileSystem('xfs') },
  { title: 'btrfs', build: disk, use: fileSystem('btrfs') },
  {
    title: 'swap',
    build: disk,
    use: (top) => sh(`mkswap ${top}; swapon ${top}; ${program('pageout')} 32; swapoff ${top}; wipefs -qa ${top}`),
  },
];

/**
 * The two figures are not read at one moment, and some writes come late (md's superblock, thin's metadata, ext4's tables), so
 * they may differ for a while. A sector that was missed, or seen twice, makes them differ for good.
 */
async function settled(watch: Watch): Promise<Awaited<ReturnType<Watch['compare']>>> {
  for (let tries = 0; ; tries++) {
    const figures = await watch.compare();
    if (tries === 40 || isDeepStrictEqual(figures.seen, figures.counted)) return figures;
    await sleep(250);
  }
}

describe('the path table', () => {
  before(() => {
    loadWitness({ witness: 1000 });
    sh('modprobe -a raid0 raid1 raid456 dm-crypt dm-snapshot dm-thin-pool loop');
  });
  after(() => {
    assert.equal(liveWitnesses(), 0);
    unloadWitness();
  });

  for (const { title, build = disk, use, tear } of rows) {
    it(title, async () => {
      const watches = new Map<string, Watch>();
      const { top, below } = build();
      try {
        for (const device of [top, ...below]) watches.set(device, await Watch.start(device, 'witness'));
        use(top);
        sh('sync');
        for (const [device, watch] of watches) {
          const { seen, counted } = await settled(watch);
          assert.deepEqual(seen, counted, `on ${device}`);
          assert.ok(seen.written > 0, `nothing was written to ${device}`);
        }
      } finally {
        for (const watch of watches.values()) await watch.stop();
        tear?.();
      }
    });
  }
});
