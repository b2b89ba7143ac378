// SPDX-License-Identifier: MIT
//
// What trace tells of requests, against those who made them.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { open, type TraceEvent, type TraceOptions } from 'blkfilter';

import { run } from './support/run.js';

const DISK = '/dev/sda';

/** Traces a device while something runs; gives the events of that time, and how many were lost. */
async function traced(path: string, options: TraceOptions, work: () => unknown) {
  const device = await open(path);
  const trace = await device.attach('trace', options);
  const stream = await trace.open();
  await work();
  await trace.detach();
  const events: TraceEvent[] = [];
  for await (const event of stream) events.push(event);
  assert.equal(stream.ended, 'detached');
  await device.close();
  return { events, dropped: stream.dropped };
}

interface FioSide {
  total_ios: number;
  io_bytes: number;
}

/** Runs fio on a device; gives what it counted. */
function fio(path: string, ...options: string[]): { read: FioSide; write: FioSide } {
  const args = ['--name=job', `--filename=${path}`, '--direct=1', '--ioengine=libaio', '--output-format=json', ...options];
  const { jobs } = JSON.parse(run('fio', ...args)) as { jobs: { read: FioSide; write: FioSide }[] };
  assert.ok(jobs[0]);
  return jobs[0];
}

const bytesOf = (events: TraceEvent[]): number => events.reduce((sum, { count }) => sum + count * 512, 0);
const ofFio = (events: TraceEvent[], operation: string): TraceEvent[] =>
  events.filter((event) => event.comm === 'fio' && event.operation === operation && event.count > 0);

describe('trace', () => {
  it('tells of as many requests as fio has made', async () => {
    let counted: ReturnType<typeof fio> | undefined;
    const { events, dropped } = await traced(DISK, { segments: true, buffer: '4MiB' }, () => {
      counted = fio(DISK, '--rw=randrw', '--bsrange=4k-64k', '--size=64M', '--io_size=8M', '--iodepth=8', '--randseed=7');
    });
    assert.equal(dropped, 0);
    assert.ok(counted);
    for (const side of ['read', 'write'] as const) {
      const found = ofFio(events, side);
      assert.equal(found.length, counted[side].total_ios);
      assert.equal(bytesOf(found), counted[side].io_bytes);
      for (const { status, device, submittedTo, segments, count, latency } of found) {
        assert.deepEqual({ status, device, submittedTo }, { status: null, device: 'sda', submittedTo: 'sda' });
        assert.equal(segments.reduce((sum, { length }) => sum + length, 0), count * 512);
        assert.ok(latency > 0);
      }
    }
  });
});
