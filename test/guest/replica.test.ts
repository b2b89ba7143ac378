// SPDX-License-Identifier: MIT
//
// A replica that is kept by nothing but cbt: while fio writes as fast as it can, checkpoint, copy what changed since the
// last one, and so on. When the writers have stopped and the last changes are copied, the two must be the same, byte for
// byte: one change lost at one checkpoint, and they are not. With a checkpoint that does not wait for writes in flight
// (blkfilter_drain() returning at once) this fails.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open as openFile, type FileHandle } from 'node:fs/promises';
import { describe, it } from 'node:test';

import { SECTOR_SIZE, open, type BlockDevice, type Extent } from 'blkfilter';

import { sameBytes } from './support/copies.js';
import { dmCreate, dmRemove, NVME, nvme, partition, unpartition } from './support/devices.js';
import { sh } from './support/run.js';

const ROUNDS = Math.max(5, Number(process.env.BLKFILTER_ROUNDS ?? 50));
const MIB = 2048;
const SIZE = 8;
const REPLICA = '/dev/sdc';

interface Source {
  title: string;
  create: () => string | Promise<string>;
  remove: () => void;
  /** What goes on meanwhile, again and again. */
  meanwhile?: string;
}

const sources: Source[] = [
  {
    title: 'a partition',
    create: () => (partition('/dev/sda', 2048, SIZE), '/dev/sda1'),
    remove: () => {
      unpartition('/dev/sda');
    },
  },
  {
    title: 'dm-delay',
    create: () => dmCreate('replica', `0 ${SIZE * MIB} delay /dev/sda 0 0 /dev/sda 0 300`),
    remove: () => void dmRemove('replica'),
  },
  {
    title: 'md raid0',
    create: () => {
      sh('modprobe raid0; yes | MDADM_NO_UDEV=1 mdadm --create /dev/md0 --level=0 --raid-devices=2 --size=4M --run /dev/sda /dev/sdb 2>&1');
      return '/dev/md0';
    },
    remove: () => void sh('MDADM_NO_UDEV=1 mdadm --stop /dev/md0 2>&1; wipefs -qa /dev/sda /dev/sdb'),
  },
  {
    // Meanwhile its driver freezes the queue, where writes wait, and so does a checkpoint: not without a pause.
    title: 'an NVMe disk whose controller is reset',
    create: async () => (await nvme(), NVME),
    remove: () => undefined,
    meanwhile: 'echo 1 >/sys/class/nvme/nvme0/reset_controller; sleep 3',
  },
];

const load = (device: string) =>
  spawn('fio', [
    '--name=load', `--filename=${device}`, '--ioengine=libaio', '--direct=1', '--iodepth=8', '--numjobs=2', '--rw=randwrite',
    '--bsrange=4k-64k', `--size=${SIZE}M`, '--time_based', '--runtime=3600', '--randrepeat=0', '--refill_buffers',
  ], { stdio: 'ignore' });

describe(`a replica after ${ROUNDS} rounds under load`, () => {
  for (const { title, create, remove, meanwhile = 'sleep 1' } of sources) {
    it(`of ${title}`, async () => {
      const path = await create();
      await using device = await open(path);
      await using replica = await openFile(REPLICA, 'r+');
      const tracker = await device.attach('cbt', { blockSize: '4KiB' });
      const fio = load(path);
      const other = spawn('sh', ['-euc', `while :; do ${meanwhile}; done`], { stdio: 'inherit' });
      try {
        // All of it, once; what changes from now on is in the epochs.
        await copy(device, [{ sector: 0, count: SIZE * MIB }], replica);
        let since = 1;
        for (let round = 0; round < ROUNDS; round++) {
          const { epoch } = await tracker.checkpoint();
          await copy(device, tracker.changes({ since }), replica);
          since = epoch;
        }
        assert.equal(fio.exitCode, null, 'fio ended early');
        assert.equal(other.exitCode, null, 'what goes on meanwhile has failed');
        fio.kill('SIGINT');
        await once(fio, 'close');
        await copy(device, tracker.changes({ since }), replica);
        await replica.sync();
        assert.ok(sameBytes(path, REPLICA, SIZE * MIB * SECTOR_SIZE), 'the replica differs');
      } finally {
        fio.kill('SIGKILL');
        other.kill();
        await tracker.detach();
        await device.close();
        remove();
      }
    });
  }
});

async function copy(from: BlockDevice, extents: AsyncIterable<Extent> | Iterable<Extent>, to: FileHandle): Promise<void> {
  for await (const { sector, count } of extents) {
    for (let at = sector; at < sector + count; at += MIB) {
      const data = await from.read(at, Math.min(MIB, sector + count - at));
      await to.write(data, 0, data.length, at * SECTOR_SIZE);
    }
  }
}
