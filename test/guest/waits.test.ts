// SPDX-License-Identifier: MIT
//
// What attach and checkpoint wait for, and who could make them wait for ever.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { after, before, describe, it } from 'node:test';

import { BlkfilterError, open } from 'blkfilter';

import { dmCreate, dmRemove, filters, mdCreate, mdStop } from './support/devices.js';
import { hookedFunctions, untilUnhooked } from './support/modules.js';
import { program, run, sh, until } from './support/run.js';

const DISK = '/dev/sda';
const SECTORS = 65536;

/** What the kernel has said so far. */
const log = (): string => run('dmesg');

/** Sets a write of a file under way that takes its time; the promise inside tells when it is done. */
async function writing(device: string, file: string): Promise<{ done: Promise<unknown> }> {
  const dd = spawn('dd', [`if=${file}`, `of=${device}`, 'bs=4096', 'count=1', 'oflag=direct', 'status=none']);
  const done = once(dd, 'close');
  // It sleeps in write(2), whose number is 1.
  await until('the write to be in flight', () => readFileSync(`/proc/${dd.pid}/syscall`, 'utf8').startsWith('1 '));
  return { done };
}

describe('a task that never sleeps: the thread of an io_uring that polls', () => {
  let polling: ChildProcess;

  const start = async () => {
    polling = spawn(program('sqpoll'), { stdio: ['ignore', 'pipe', 'inherit'] });
    if (polling.stdout) await once(polling.stdout, 'data');
  };
  const end = async () => {
    if (polling.exitCode !== null || polling.signalCode !== null) return;
    polling.kill('SIGKILL');
    await once(polling, 'close');
  };
  after(end);

  it('does not hold up attach for ever, and is named', async () => {
    // Taking hooks back would wait for this task, under a lock that attach needs.
    await untilUnhooked();
    await start();
    const device = await open(DISK);
    await assert.rejects(device.attach('cbt'), { code: 'ETIMEDOUT', hint: /dmesg/ });
    assert.deepEqual(filters(DISK), []);
    assert.match(log(), new RegExp(`iou-sqp-${polling.pid} \\(\\d+\\) of process sqpoll \\(${polling.pid}\\)`));
    // The hooks stay until it has slept: to take them back the kernel would wait under a lock that all tracing needs.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert.match(hookedFunctions(), /submit_bio/);
    await end();
    const tracker = await device.attach('cbt');
    await start();
    await assert.rejects(tracker.checkpoint(), { code: 'ETIMEDOUT' });
    await end();
    await tracker.checkpoint();
    await tracker.detach();
    await device.close();
    await untilUnhooked();
  });
});

describe('a disk that sleeps when it is not used', () => {
  const power = `/sys/block/${DISK.slice(5)}/device/power`;
  const asleep = (): boolean => readFileSync(`${power}/runtime_status`, 'utf8').trim() === 'suspended';

  before(() => {
    writeFileSync(`${power}/autosuspend_delay_ms`, '500');
    writeFileSync(`${power}/control`, 'auto');
  });
  after(() => writeFileSync(`${power}/control`, 'on'));

  it('is woken by attach and by a checkpoint, and sleeps again', async () => {
    const device = await open(DISK);
    await until('the disk to sleep', asleep);
    const tracker = await device.attach('cbt');
    await until('the disk to sleep again', asleep);
    await tracker.checkpoint();
    await until('the disk to sleep once more', asleep);
    await tracker.detach();
    await device.close();
  });
});

describe('an array of md whose I/O statistics were off when a write began, and are on again', () => {
  const statistics = '/sys/block/md0/queue/iostats';
  const members = ['/dev/sda', '/dev/sdb'];
  let paths: string[] = [];

  /** What each member waits before a write, in ms. */
  const delays = (delay: number) => members.map((disk) => `0 ${SECTORS} delay ${disk} 0 0 ${disk} 0 ${delay}`);
  const slowDown = (delay: number) =>
    delays(delay).forEach((table, i) => sh(`dmsetup reload slow${i} --table '${table}'; dmsetup resume slow${i}`));
  const start = () => mdCreate(0, paths, '--chunk=64');

  before(() => {
    paths = delays(0).map((table, i) => dmCreate(`slow${i}`, table));
    start();
  });
  after(() => {
    mdStop(...paths);
    paths.forEach((_, i) => dmRemove(`slow${i}`));
    sh(`wipefs -qa ${members.join(' ')}`);
  });

  /** What the members hold there, past all caches. */
  const arrived = (): boolean => {
    run('dd', 'if=/dev/md0', 'of=/run/read', 'bs=4096', 'count=1', 'iflag=direct', 'status=none');
    return readFileSync('/run/read').equals(readFileSync('/run/written'));
  };

  it('is drained of it, or refused until it was stopped and started', async (t) => {
    slowDown(3000);
    writeFileSync(statistics, '0');
    sh('dd if=/dev/urandom of=/run/written bs=4096 count=1 status=none');
    const { done } = await writing('/dev/md0', '/run/written');
    writeFileSync(statistics, '1');
    assert.ok(!arrived(), 'the write was not slow enough for this test');
    const device = await open('/dev/md0');
    const refusal = await device.attach('cbt').then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refusal === undefined) assert.ok(arrived(), 'still in flight');
    t.diagnostic(refusal === undefined ? 'drained' : 'refused');
    await done;
    slowDown(0);
    if (refusal !== undefined) {
      assert.ok(refusal instanceof BlkfilterError);
      assert.match(release(), /^6\.1\./, refusal.message);
      assert.equal(refusal.code, 'ENOTSUP');
      assert.match(refusal.hint ?? '', /stop .* start/);
      assert.match(log(), /md0: its I\/O statistics were off/);
      await device.close();
      mdStop(...paths);
      start();
    } else {
      await device.detach('cbt');
      await device.close();
    }
    const again = await open('/dev/md0');
    const tracker = await again.attach('cbt');
    await tracker.checkpoint();
    await tracker.detach();
    await again.close();
  });
});

describe('a device-mapper device while it is drained', () => {
  const EVENT = '/sys/kernel/tracing/events/block/block_bio_complete';
  let path: string;

  before(() => {
    path = dmCreate('reads', `0 ${SECTORS} delay /dev/sdb 0 1500`);
    sh(`echo 'error != 0' > ${EVENT}/filter; echo > /sys/kernel/tracing/trace; echo 1 > ${EVENT}/enable`);
  });
  after(() => {
    sh(`echo 0 > ${EVENT}/enable; echo 0 > ${EVENT}/filter`);
    dmRemove('reads');
  });

  it('does not fail what is read ahead', async () => {
    const device = await open(path);
    const tracker = await device.attach('cbt');
    const slow = spawn('dd', [`if=${path}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct', 'status=none']);
    const read = once(slow, 'close');
    await until('a read to be in flight', () => readFileSync(`/proc/${slow.pid}/syscall`, 'utf8').startsWith('0 '));
    const checkpoint = tracker.checkpoint();
    await until('the device to be suspended', () => run('ps', '-e', '-o', 'comm=').includes('blkfilter_drain'));
    run('dd', `if=${path}`, 'of=/dev/null', 'bs=64K', 'count=4', 'skip=64', 'status=none');
    await checkpoint;
    await read;
    const failed = sh('grep block_bio_complete /sys/kernel/tracing/trace || true');
    assert.equal(failed, '');
    await tracker.detach();
    await device.close();
  });
});
