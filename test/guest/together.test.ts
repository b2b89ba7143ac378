// SPDX-License-Identifier: MIT
//
// All filters of this package on one disk at once. fio is told which of its writes fail; the rest follows from that.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { open, type Extent, type TraceEvent } from 'blkfilter';

import { collected } from './support/extents.js';
import { loadModules } from './support/modules.js';
import { run, sh } from './support/run.js';

const DISK = '/dev/sda';
const BLOCK = 128;
const ALLOWED: Extent = { sector: 0, count: 64 * BLOCK };
const DENIED: Extent = { sector: 1024 * BLOCK, count: 64 * BLOCK };

const checksum = ({ sector, count }: Extent): string =>
  sh(`dd if=${DISK} bs=64k skip=${sector / BLOCK} count=${count / BLOCK} iflag=direct status=none | md5sum`);

/** Writes each block of an extent once; gives how many writes failed. */
function write({ sector, count }: Extent): number {
  const { jobs } = JSON.parse(
    run(
      'fio', '--name=job', `--filename=${DISK}`, '--direct=1', '--ioengine=libaio', '--iodepth=8', '--rw=randwrite', '--bs=64k',
      `--offset=${sector * 512}`, `--size=${count * 512}`, '--continue_on_error=write', '--output-format=json',
    ).replace(/^[^{]*/, ''),
  ) as { jobs: { total_err: number; write: { total_ios: number } }[] };
  assert.equal(jobs[0]?.write.total_ios, count / BLOCK);
  return jobs[0].total_err;
}

describe('trace, cbt and guard together', () => {
  it('each does its job, in the order of their altitudes', async () => {
    loadModules();
    await using device = await open(DISK);
    // Not in that order, which does not matter.
    const guard = await device.attach('guard', { rules: [{ action: 'deny', operations: ['write'], range: DENIED, error: 'EIO' }] });
    const trace = await device.attach('trace', { operations: 'write', buffer: '1MiB' });
    const tracker = await device.attach('cbt');
    assert.deepEqual((await device.filters()).map(({ name }) => name), ['trace', 'cbt', 'guard']);
    const before = checksum(DENIED);
    const { mark } = await tracker.checkpoint();
    const stream = await trace.open();

    assert.equal(write(ALLOWED), 0);
    assert.equal(write(DENIED), DENIED.count / BLOCK);

    await trace.detach();
    const events: TraceEvent[] = [];
    for await (const event of stream) events.push(event);
    assert.equal(stream.dropped, 0);
    const within = ({ sector, count }: Extent) => events.filter((event) => event.sector >= sector && event.sector < sector + count);
    for (const [extent, status] of [[ALLOWED, null], [DENIED, 'EIO']] as const) {
      const found = within(extent);
      assert.equal(found.length, extent.count / BLOCK);
      for (const event of found) assert.deepEqual([event.count, event.status], [BLOCK, status]);
    }

    assert.equal((await guard.counters()).rules[0]?.applied, DENIED.count / BLOCK);
    assert.equal(checksum(DENIED), before);

    // cbt sees a bio at its last step. A denied bio never gets there.
    assert.deepEqual(await collected(tracker.changes({ since: mark })), [ALLOWED]);

    await tracker.detach();
    await guard.detach();
    assert.deepEqual(await device.filters(), []);
  });
});
