// SPDX-License-Identifier: MIT
//
// The rows of the path table: stacks of devices, and ways of using them.
import type { Extent } from 'blkfilter';

import { attribute, dmCreate, dmRemove, mdCreate, mdStop, partition, scatter, unpartition } from './devices.js';
import { Nulls } from './nulls.js';
import { plug, unplugAll } from './plug.js';
import { haveModule, isRelease, program, run, sh } from './run.js';
import { difference, statistics, type Traffic } from './witness.js';
import { haveZones, removeZonedDisk, zonedDisk } from './zones.js';

const MIB = 2048;

/** The devices that are watched: upper ones, those below them, and those below these. */
export type Levels = string[][];

/** What devices must have seen, where their own statistics do not tell. */
export type Truth = Record<string, Traffic>;

interface Stack {
  build: () => Levels | Promise<Levels>;
  tear?: (stack: Levels) => unknown;
  /** Not every kernel has what it takes. */
  have?: () => boolean;
  /** The devices at its foot get requests without bios, which only a filter that looks at the last step sees. */
  requests?: true;
  /** Its driver waits for ever, or brings the kernel down, when all of its disks refuse to be written to. */
  hangs?: true;
}

export interface Row extends Stack {
  title: string;
  /** There must have been an operation on a zone. */
  zoned?: true;
  /** Does the I/O, to the first of the upper devices or wherever it likes. */
  use: ((top: string, stack: Levels) => void) | ((top: string, stack: Levels) => Truth);
}

/* ---- Uses ---------------------------------------------------------------- */

const fio = (engine: string, direct: 0 | 1, ...more: string[]) => (top: string) =>
  void run(
    'fio', '--name=path', `--filename=${top}`, `--ioengine=${engine}`, `--direct=${direct}`, '--rw=randrw', '--bsrange=4k-128k',
    '--size=32M', '--io_size=4M', '--iodepth=8', '--end_fsync=1', '--invalidate=1', ...more,
  );
const shell = (line: (top: string) => string) => (top: string) => void sh(line(top));

const uses: Record<string, (top: string) => void> = {
  'direct, AIO': fio('libaio', 1),
  'direct, io_uring': fio('io_uring', 1),
  buffered: fio('psync', 0),
  'buffered, io_uring': fio('io_uring', 0),
  mmap: fio('mmap', 0),
  discard: shell((top) => `blkdiscard -o 8M -l 24M ${top}`),
  'write zeroes': shell((top) => `blkdiscard -z -o 8M -l 24M ${top}; fallocate -z -o 15M -l 2M ${top}`),
  'fallocate punch': shell((top) => `fallocate -p -o 15M -l 2M ${top}`),
};
const anyhow = (top: string) => {
  fio('libaio', 1)(top);
  fio('psync', 0)(top);
  run('blkdiscard', '-z', '-o', '1048576', '-l', '1048576', top);
};
/** What a device's statistics counted of this use. */
const counted = (device: string, use: () => void): Traffic => {
  const before = statistics(device);
  use();
  sh('sync');
  return difference(statistics(device), before);
};
const fileSystem = (make: string) =>
  shell((top) => `modprobe -q ${make} || true; mkfs.${make} ${make === 'ext4' ? '-qF' : '-qf'} ${top}; mkdir -p /run/mnt; mount ${top} /run/mnt
    head -c 8M /dev/urandom > /run/mnt/file; sync; cp /run/mnt/file /run/mnt/copy; rm /run/mnt/file; fstrim /run/mnt || true
    echo 3 > /proc/sys/vm/drop_caches; cat /run/mnt/copy > /dev/null; umount /run/mnt; wipefs -qa ${top}`);
/** In blocks of 16 KiB at least. */
const inLargeBlocks = shell((top) => `for flag in direct dsync; do dd if=/dev/urandom of=${top} bs=48k count=20 seek=3 oflag=$flag conv=notrunc status=none; done
  echo 3 > /proc/sys/vm/drop_caches; dd if=${top} of=/dev/null bs=16k count=100 status=none; dd if=${top} of=/dev/null bs=64k count=40 iflag=direct status=none
  blkdiscard -z -o 1M -l 1M ${top}`);
const swap = shell((top) => `mkswap ${top}; swapon ${top}; ${program('pageout')} 32; swapoff ${top}; wipefs -qa ${top}`);

/** Of a disk, to partitions whose statistics do not count it. Each sector is written or read as often as it is named here. */
function across(disk: string, partitions: string[]): Truth {
  const written: Extent[] = (['direct', 'discard', 'zeroout'] as const).flatMap((how) =>
    scatter(disk, { how, threads: 2, count: 40, max: 1024 * 1024, seed: 3 }),
  );
  // Over the border between the first two, at 201 MiB, which lies within one write and one read.
  sh(`dd if=/dev/zero of=${disk} bs=1M seek=196608K count=10 oflag=seek_bytes conv=notrunc,fsync status=none
    dd if=/dev/zero of=${disk} bs=1M seek=205312K count=2 oflag=direct,seek_bytes conv=notrunc status=none
    dd if=${disk} of=/dev/null bs=1M skip=200192K count=10 iflag=direct,skip_bytes status=none`);
  written.push({ sector: 192 * MIB, count: 10 * MIB }, { sector: 200.5 * MIB, count: 2 * MIB });
  const read = [{ sector: 195.5 * MIB, count: 10 * MIB }];
  return Object.fromEntries(
    partitions.map((name) => {
      const start = attribute(name, 'start');
      const end = start + attribute(name, 'size');
      const share = (extents: Extent[]) =>
        extents.reduce((sum, { sector, count }) => sum + Math.max(0, Math.min(sector + count, end) - Math.max(sector, start)), 0);
      return [name, { read: share(read), written: share(written), zones: 0 }];
    }),
  );
}

// Zone 0 is left out: see zonesTouched().
const zones = shell((top) => `
  fio --name=zones --filename=${top} --zonemode=zbd --direct=1 --ioengine=psync --rw=randwrite --bsrange=4k-64k --offset=8M --size=64M --io_size=12M
  blkzone reset -o ${16 * MIB} -l ${24 * MIB} ${top}
  blkzone finish -o ${80 * MIB} -l ${8 * MIB} ${top}
  blkzone reset ${top}`);
/** btrfs appends the data of files to zones, and resets zones that hold none any more. */
const append = (top: string) =>
  void sh(`mount ${top} /run/mnt; head -c 20M /dev/urandom > /run/mnt/file; sync
    cp /run/mnt/file /run/mnt/copy; sync; rm /run/mnt/file; sync; cmp -n 1000000 /run/mnt/copy /run/mnt/copy; umount /run/mnt`);
const makeBtrfs = (top: string) => sh(`modprobe -q btrfs || true; mkfs.btrfs -q -f -K -O zoned ${top}; mkdir -p /run/mnt`);

/* ---- Stacks -------------------------------------------------------------- */

const disks = ['/dev/sda', '/dev/sdb', '/dev/sdc'];
let parted = false;
/** Two of 200 MiB on each disk, for the first row that wants them and all after it: cutting them takes long. */
const partitions = () => {
  if (!parted) disks.forEach((name) => partition(name, 2048, 200, 200));
  parted = true;
};

/** Loads what the stacks are made of. */
export const prepareStacks = (): void => {
  sh('modprobe -a raid0 raid1 raid456 dm-crypt dm-snapshot dm-thin-pool dm-multipath dm-round-robin dm-cache dm-cache-smq dm-integrity dm-era dm-raid loop');
};

/** Takes the partitions off the disks again. */
export function clearDisks(): void {
  if (parted) disks.forEach(unpartition);
  parted = false;
}

const disk: Stack = { build: () => [['/dev/sda']] };
const onePartition: Stack = { build: () => (partitions(), [['/dev/sda1'], [], ['/dev/sda']]) };
/** All 400 MiB of two partitions, with borders at 16 MiB and 216 MiB. */
const linear: Stack = {
  build: () => {
    partitions();
    const top = dmCreate(
      'path',
      `0 ${16 * MIB} linear /dev/sda2 0`,
      `${16 * MIB} ${200 * MIB} linear /dev/sdb1 0`,
      `${216 * MIB} ${184 * MIB} linear /dev/sda2 ${16 * MIB}`,
    );
    return [[top], ['/dev/sda2', '/dev/sdb1'], ['/dev/sda', '/dev/sdb']];
  },
  tear: () => void dmRemove('path'),
};

const raid = (level: number, ...members: string[]): Stack => {
  const overPartitions = members.some((member) => /[0-9]$/.test(member));
  return {
    build: () => {
      if (overPartitions) partitions();
      const redundant = level ? ['--bitmap=none', `--size=${100 * 1024}`] : [];
      return [[mdCreate(level, members, '--assume-clean', ...redundant)], overPartitions ? members : [], members.map((member) => member.slice(0, 8))];
    },
    tear: () => {
      mdStop(...members);
    },
  };
};

/** The table line of a device-mapper device that is all of another. */
const whole = (device: string, target: string, more: string) => `0 ${attribute(device, 'size')} ${target} ${device} ${more}`;
const encrypted = (device: string) => `0 ${attribute(device, 'size')} crypt aes-xts-plain64 ${'5a'.repeat(32)} 0 ${device} 0`;

const loop = (scan: boolean): Stack => ({
  build: () => {
    partitions();
    sh('mkfs.ext4 -qF -E lazy_itable_init=0 /dev/sdb1; mkdir -p /run/below; mount /dev/sdb1 /run/below; truncate -s 128M /run/below/file');
    if (scan) sh(`printf 'label: gpt\\nstart=2048 size=${100 * MIB}\\n' | sfdisk -q /run/below/file`);
    const top = sh(`losetup ${scan ? '-P' : ''} -f --show /run/below/file`).trim();
    return scan ? [[`${top}p1`], [top, '/dev/sdb1'], ['/dev/sdb']] : [[top], ['/dev/sdb1'], ['/dev/sdb']];
  },
  tear: () => void sh('losetup -D; umount /run/below'),
});

/** Where a device-mapper target keeps its own data: it takes zeros for a sign to begin afresh. */
const forMetadata = (device: string): string => (sh(`dd if=/dev/zero of=${device} bs=64k count=1 conv=fsync status=none`), device);

/** A device-mapper device over partitions. */
const mapped = (table: () => string, below = ['/dev/sda1', '/dev/sdb1']): Stack => ({
  build: () => {
    partitions();
    return [[dmCreate('path', table())], below, [...new Set(below.map((device) => device.slice(0, 8)))]];
  },
  tear: () => void dmRemove('path'),
});
/** dm-linear over one that is over partitions. */
const linearOver = (name: string, table: () => string): Stack => ({
  build: () => {
    partitions();
    const middle = dmCreate(name, table());
    return [[dmCreate('path', whole(middle, 'linear', '0'))], [middle, '/dev/sda1', '/dev/sdb1'], ['/dev/sda', '/dev/sdb']];
  },
  tear: () => (dmRemove('path'), dmRemove(name)),
});
const era = (): string => `0 ${200 * MIB} era ${forMetadata('/dev/sdb1')} /dev/sda1 128`;

/** 40 MiB, all of which have been written once: what has not been has no checksum, and cannot be read. */
const integrity: Stack = {
  build: () => {
    partitions();
    const top = dmCreate('path', `0 ${40 * MIB} integrity ${forMetadata('/dev/sda1')} 0 - J 1 internal_hash:crc32c`);
    sh(`dd if=/dev/zero of=${top} bs=1M count=40 oflag=direct status=none`);
    return [[top], ['/dev/sda1'], ['/dev/sda']];
  },
  tear: () => void dmRemove('path'),
};

/** Newer kernels begin without its I/O statistics, so that no filter could be attached. */
const bcache: Stack = {
  have: haveModule('bcache'),
  hangs: true,
  build: () => {
    partitions();
    sh(`modprobe bcache; for device in /dev/sda1 /dev/sdb1; do dd if=/dev/zero of=$device bs=1M count=4 conv=fsync status=none; done
      make-bcache --bucket 64k --writeback -B /dev/sda1 -C /dev/sdb1
      for device in /dev/sda1 /dev/sdb1; do echo $device > /sys/fs/bcache/register; done
      for i in $(seq 100); do test ! -e /dev/bcache0 || break; sleep 0.1; done; echo 1 > /sys/block/bcache0/queue/iostats`);
    return [['/dev/bcache0'], ['/dev/sda1', '/dev/sdb1'], ['/dev/sda', '/dev/sdb']];
  },
  tear: () =>
    void sh(`for stop in /sys/block/bcache0/bcache/stop /sys/fs/bcache/*-*/stop; do echo 1 > $stop; done
      for i in $(seq 100); do set -- /sys/fs/bcache/*-* /sys/block/bcache[0]; test -e $1 || test -e $2 || break; sleep 0.1; done
      wipefs -qa /dev/sda1 /dev/sdb1; rmmod bcache`),
};

const nbd: Stack = {
  have: haveModule('nbd'),
  build: () => {
    partitions();
    sh(`modprobe nbd nbds_max=1; mkdir -p $(readlink -m /var/lock); qemu-nbd --connect=/dev/nbd0 --format=raw --discard=unmap --fork /dev/sdb1`);
    return [['/dev/nbd0'], ['/dev/sdb1'], ['/dev/sdb']];
  },
  tear: () => void sh('qemu-nbd --disconnect /dev/nbd0; for i in $(seq 100); do pgrep -x qemu-nbd > /dev/null || break; sleep 0.1; done; rmmod nbd'),
};

/** A disk of null_blk. */
const largeBlocks: Stack = (() => {
  let nulls: Nulls | undefined;
  return {
    have: () => isRelease(6, 15) && haveModule('null_blk')(),
    build: () => [(nulls = new Nulls(1, { blocksize: 16384 })).devices],
    tear: () => nulls?.remove(),
  };
})();

/** A disk that writes up to 32 KiB as a whole or not at all. */
const atomic: Stack = {
  have: () => isRelease(6, 12) && haveModule('scsi_debug')(),
  build: async () => [[await plug('atomic_wr=1')]],
  tear: ([[disk = ''] = []]) => unplugAll(disk),
};

const zonesOfDisk = { have: haveZones, zoned: true as const, build: () => [[zonedDisk()]], tear: removeZonedDisk };
const overZones = (table: (disk: string) => string, prepare?: (top: string) => void) => ({
  have: haveZones,
  zoned: true as const,
  build: () => {
    const lower = zonedDisk();
    const top = dmCreate('path', table(lower));
    prepare?.(top);
    return [[top], [], [lower]];
  },
  tear: () => (dmRemove('path'), removeZonedDisk()),
});
const linearZones = (lower: string) => whole(lower, 'linear', '0');

/* ---- The table ----------------------------------------------------------- */

const each = (name: string, stack: Stack): Row[] =>
  Object.entries(uses).map(([how, use]) => ({ title: `${name}: ${how}`, ...stack, use }));

export const rows: Row[] = [
  ...each('a disk', disk),
  { title: 'swap on a disk', ...disk, use: swap },
  {
    title: "io_uring's discard command",
    ...disk,
    have: () => isRelease(6, 12),
    use: shell((top) => `${program('uring-discard')} ${top} ${8 * MIB} ${24 * MIB}`),
  },
  {
    title: 'dm-multipath over a disk, by requests',
    build: () => [[dmCreate('path', `0 ${attribute('/dev/sda', 'size')} multipath 0 0 1 1 round-robin 0 1 1 /dev/sda 1000`)], [], ['/dev/sda']],
    tear: () => void dmRemove('path'),
    requests: true,
    use: anyhow,
  },
  { title: 'md raid0 over disks', ...raid(0, '/dev/sda', '/dev/sdb'), use: anyhow },
  { title: 'md raid1 over disks', ...raid(1, '/dev/sda', '/dev/sdb'), use: anyhow },
  { title: 'md raid5 over disks', ...raid(5, '/dev/sda', '/dev/sdb', '/dev/sdc'), use: anyhow },
  // From here on the disks have partitions.
  ...each('a partition', onePartition),
  ...each('dm-linear over partitions', linear),
  {
    title: 'a disk, across filters of its partitions',
    build: () => (partitions(), [['/dev/sda1', '/dev/sda2'], [], ['/dev/sda']]),
    use: () => across('/dev/sda', ['/dev/sda1', '/dev/sda2']),
  },
  {
    title: 'two partitions, within a filter of their disk',
    build: () => (partitions(), [[], [], ['/dev/sda']]),
    use: () => (anyhow('/dev/sda1'), anyhow('/dev/sda2')),
  },
  { title: 'dm-crypt over a partition', ...mapped(() => encrypted('/dev/sda1'), ['/dev/sda1']), use: anyhow },
  {
    title: 'dm-thin over partitions',
    build: () => {
      partitions();
      const pool = dmCreate('pool', `0 ${200 * MIB} thin-pool ${forMetadata('/dev/sdb1')} /dev/sda1 128 0`);
      run('dmsetup', 'message', 'pool', '0', 'create_thin 0');
      return [[dmCreate('path', `0 ${200 * MIB} thin ${pool} 0`)], ['/dev/sda1', '/dev/sdb1'], ['/dev/sda', '/dev/sdb']];
    },
    use: anyhow,
    tear: () => (dmRemove('path'), dmRemove('pool')),
  },
  ...['origin', 'snapshot'].map((used) => ({
    title: `dm-snapshot over partitions: the ${used}`,
    build: () => {
      partitions();
      const snapshot = dmCreate('snap', `0 ${100 * MIB} snapshot /dev/sda1 ${forMetadata('/dev/sdb1')} P 16`);
      const origin = dmCreate('path', `0 ${100 * MIB} snapshot-origin /dev/sda1`);
      // The origin's own disk is only read when the snapshot is used.
      return used === 'origin'
        ? [[origin], ['/dev/sda1', '/dev/sdb1'], ['/dev/sda', '/dev/sdb']]
        : [[snapshot], ['/dev/sdb1'], ['/dev/sdb']];
    },
    use: anyhow,
    tear: () => (dmRemove('path'), dmRemove('snap')),
  })),
  {
    title: 'dm-multipath over a partition, by bios',
    ...mapped(() => `0 ${200 * MIB} multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/sda1 1000`, ['/dev/sda1']),
    use: anyhow,
  },
  {
    title: 'dm-cache over partitions',
    ...mapped(() => `0 ${200 * MIB} cache ${forMetadata('/dev/sdb1')} /dev/sdb2 /dev/sda1 128 1 writeback default 0`, ['/dev/sda1', '/dev/sdb1', '/dev/sdb2']),
    use: anyhow,
  },
  { title: 'dm-integrity over a partition', ...integrity, use: anyhow },
  {
    title: 'dm-clone over partitions',
    ...mapped(() => `0 ${200 * MIB} clone ${forMetadata('/dev/sdb1')} /dev/sda1 /dev/sdb2 128 1 no_hydration`),
    have: haveModule('dm-clone'),
    use: anyhow,
  },
  { title: 'dm-era over partitions', ...mapped(era), use: anyhow },
  { title: 'dm-linear over dm-era over partitions', ...linearOver('era', era), use: anyhow },
  {
    title: 'dm-linear over dm-raid over partitions',
    ...linearOver('raid', () => `0 ${200 * MIB} raid raid1 4 0 nosync region_size 1024 2 - /dev/sda1 - /dev/sdb1`),
    // Newer kernels' statistics count what goes to dm-raid twice: device-mapper does, and so does md in it.
    use: (top, [, [raid = ''] = []]) => ({ [raid]: counted(top, () => anyhow(top)) }),
    hangs: true,
  },
  { title: 'bcache over partitions', ...bcache, use: anyhow },
  { title: 'nbd, whose server has a partition', ...nbd, use: anyhow },
  { title: 'md raid0 over partitions', ...raid(0, '/dev/sda1', '/dev/sdb2'), use: anyhow },
  { title: 'md raid1 over partitions', ...raid(1, '/dev/sda2', '/dev/sdb1'), use: anyhow },
  { title: 'md raid5 over partitions', ...raid(5, '/dev/sda1', '/dev/sdb2', '/dev/sdc1'), use: anyhow },
  { title: 'loop on a file', ...loop(false), use: anyhow },
  { title: "loop on a file: the loop's partition", ...loop(true), use: anyhow },
  ...['ext4', 'xfs', 'btrfs'].map((name) => ({ title: `${name} on dm-linear`, ...linear, use: fileSystem(name) })),
  { title: 'swap on dm-linear', ...linear, use: swap },
  { title: 'zones of a disk: write, reset, finish, reset all', ...zonesOfDisk, use: zones },
  { title: 'zones of dm-linear: write, reset, finish, reset all', ...overZones(linearZones), use: zones },
  { title: 'zones of dm-linear: append', ...overZones(linearZones, makeBtrfs), use: append },
  { title: 'zones of dm-crypt: append, which it turns into writes', ...overZones(encrypted, makeBtrfs), use: append },
  { title: 'a disk of 16 KiB blocks', ...largeBlocks, use: inLargeBlocks },
  { title: 'atomic writes', ...atomic, use: shell((top) => `${program('atomic-write')} ${top} 40`) },
];
