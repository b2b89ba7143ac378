// SPDX-License-Identifier: MIT
//
// Modules and filters come and go under load. fio checks that what it wrote is there; the harness, that the kernel has
// nothing to complain about.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';

import { open, type BlockDevice } from 'blkfilter';

import { run } from './support/run.js';

const DISK = '/dev/sdb';
const ROUNDS = Number(process.env.BLKFILTER_ROUNDS ?? 200);

/** Writes and reads back until it is told to stop. */
const fio = [
  '--name=churn', `--filename=${DISK}`, '--ioengine=libaio', '--direct=1', '--iodepth=8', '--rw=randwrite',
  '--bsrange=4k-64k', '--size=64M', '--rate_iops=150', '--time_based', '--runtime=3600', '--verify=crc32c',
  '--verify_backlog=64', '--verify_fatal=1', '--output-format=json',
];

interface FioReport {
  jobs: { error: number; write: { total_ios: number }; read: { total_ios: number } }[];
}

describe(`${ROUNDS} rounds while fio writes and verifies`, () => {
  let load: ChildProcess;
  let device: BlockDevice;
  let output = '';

  before(async () => {
    load = spawn('fio', fio, { stdio: ['ignore', 'pipe', 'inherit'] });
    load.stdout?.on('data', (data: Buffer) => (output += data.toString()));
    device = await open(DISK);
  });

  after(async () => {
    await device.close();
    load.kill('SIGINT');
    await once(load, 'close');
    const report = JSON.parse(output.slice(output.indexOf('{'))) as FioReport;
    for (const { error, write, read } of report.jobs) {
      assert.equal(error, 0, 'fio found data that it had not written');
      assert.ok(write.total_ios > ROUNDS && read.total_ios > ROUNDS, `${write.total_ios} writes, ${read.total_ios} reads`);
    }
    run('modprobe', 'blkfilter_cbt');
  });

  it('attach, detach', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const tracker = await device.attach('cbt');
      await tracker.detach();
    }
  });

  it('attach, checkpoint, detach, rmmod, modprobe', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const tracker = await device.attach('cbt');
      await tracker.checkpoint();
      await tracker.detach();
      run('rmmod', 'blkfilter_cbt', 'blkfilter');
      run('modprobe', 'blkfilter_cbt');
    }
    assert.equal(load.exitCode, null, 'fio ended early');
  });
});
