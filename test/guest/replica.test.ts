// SPDX-License-Identifier: MIT
//
// A replica that is kept by nothing but cbt: while fio writes as fast as it can, checkpoint, copy what changed since the
// last one, and so on. When the writers have stopped and the last changes are copied, the two must be the same, byte for
// byte: one change lost at one checkpoint, and they are not. With a checkpoint that does not wait for writes in flight
// (blkfilter_drain() returning at once) this fails.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open as openFile, writeFile, type FileHandle } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { SECTOR_SIZE, open, type BlockDevice, type Extent } from 'blkfilter';

import { sameBytes } from './support/copies.js';
import { dmCreate, dmRemove, mdCreate, mdStop, partition, unpartition } from './support/devices.js';
import { markNow } from './support/extents.js';
import { Nulls } from './support/nulls.js';
import { sh } from './support/run.js';

const ROUNDS = Math.max(5, Number(process.env.BLKFILTER_ROUNDS ?? 50));
const MIB = 2048;
const SIZE = 8;
const REPLICA = '/dev/sdc';

interface Source {
  title: string;
  create: () => string;
  remove: () => void;
  /** What is done to it in a round, each time at another moment. */
  meanwhile?: (round: number) => Promise<void>;
}

let nulls: Nulls | undefined;

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
    create: () => (sh('modprobe raid0'), mdCreate(0, ['/dev/sda', '/dev/sdb'], '--size=4M')),
    remove: () => {
      mdStop('/dev/sda', '/dev/sdb');
    },
  },
  {
    // For another number of queues it freezes them: writes wait there, and so does a checkpoint, whose own freezing is the
    // same to it. A write takes so long that there are always some. (An NVMe disk whose controller is reset would do, too,
    // but the emulated one overlooks requests after a reset: its shadow doorbells begin at the wrong place.)
    title: 'a disk whose driver freezes it',
    create: () => {
      nulls = new Nulls(1, { irqmode: 2, completion_nsec: 20_000_000 });
      return nulls.devices[0] ?? '';
    },
    remove: () => {
      nulls?.powerOff();
      nulls?.remove();
    },
    meanwhile: async (round) => {
      await sleep((round % 16) * 50);
      for (const queues of ['2', '1']) await writeFile('/sys/kernel/config/nullb/nullb0/submit_queues', queues);
    },
  },
];

const load = (device: string) =>
  spawn('fio', [
    '--name=load', `--filename=${device}`, '--ioengine=libaio', '--direct=1', '--iodepth=8', '--numjobs=2', '--rw=randwrite',
    '--bsrange=4k-64k', `--size=${SIZE}M`, '--time_based', '--runtime=3600', '--randrepeat=0', '--refill_buffers',
  ], { stdio: 'ignore' });

describe(`a replica after ${ROUNDS} rounds under load`, () => {
  for (const { title, create, remove, meanwhile = () => Promise.resolve() } of sources) {
    it(`of ${title}`, async () => {
      const path = create();
      await using device = await open(path);
      await using replica = await openFile(REPLICA, 'r+');
      const tracker = await device.attach('cbt', { blockSize: '4KiB' });
      const fio = load(path);
      try {
        // All of it, once; what changes from now on is in the epochs.
        await copy(device, [{ sector: 0, count: SIZE * MIB }], replica);
        let since = await markNow(tracker);
        for (let round = 0; round < ROUNDS; round++) {
          const other = meanwhile(round);
          const { mark } = await tracker.checkpoint();
          await copy(device, tracker.changes({ since }), replica);
          since = mark;
          await other;
        }
        assert.equal(fio.exitCode, null, 'fio ended early');
        fio.kill('SIGINT');
        await once(fio, 'close');
        await copy(device, tracker.changes({ since }), replica);
        await replica.sync();
        assert.ok(sameBytes(path, REPLICA, SIZE * MIB * SECTOR_SIZE), 'the replica differs');
      } finally {
        fio.kill('SIGKILL');
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
