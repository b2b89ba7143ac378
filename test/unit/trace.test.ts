// SPDX-License-Identifier: MIT
// What the command trace prints, and what its options may be.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { TraceBatch, type TraceEvent } from 'blkfilter';
import { Histogram, histogramLines } from '#lib/cli/trace/histogram.js';
import { JsonLines, TextLines } from '#lib/cli/trace/lines.js';
import { Summary, summaryLines } from '#lib/cli/trace/summary.js';
import { Trace } from '#lib/filters/trace.js';
import { native, type NativeBatch } from '#lib/native.js';
import { check } from '#lib/options.js';

const event: TraceEvent = {
  time: 2n ** 60n,
  latency: 1_234_567,
  operation: 'write',
  flags: ['sync', 'fua'],
  submittedTo: 'sda1',
  device: 'sda',
  sector: 2048,
  count: 8,
  pid: 100,
  tid: 101,
  comm: 'fio',
  cgroup: 1,
  cpu: 0,
  status: null,
  matches: 3,
  segments: [{ offset: 512, length: 4096, sector: 2048, count: 8 }],
};

describe('the options of trace', () => {
  const options = (value: object) => check(Trace.options(), value, 'trace');

  it('are the kernel’s', () => {
    const { bufferMin, bufferDefault, bufferMax, patternMax, operations, flags } = native().trace;
    assert.deepEqual([bufferMin, bufferDefault, bufferMax, patternMax], [4096, 524288, 67108864, 64]);
    assert.ok(operations.includes('discard') && flags.includes('readahead'));
    assert.ok([...operations, ...flags].every((name) => typeof name === 'string' && name !== ''));
  });

  it('are taken as a program writes them, and as text', () => {
    assert.deepEqual(options({ operations: 'read,write', buffer: '1MiB', match: 'x' }), {
      operations: ['read', 'write'],
      sector: 0,
      segments: false,
      buffer: 1048576,
      match: Buffer.from('x'),
    });
    assert.deepEqual(options({ operations: ['flush'] }).operations, ['flush']);
  });

  for (const [wrong, message] of [
    [{ operations: 'read,nonsense' }, /'nonsense' is none of read, write/],
    [{ match: '' }, /nothing to look for/],
    [{ match: 'ä'.repeat(33) }, /longer than 64 bytes/],
    [{ buffer: 5000 }, /power of two/],
    [{ buffer: 2048 }, /power of two/],
    [{ task: 0 }, /task/],
    [{ sector: 5, count: 0 }, /count/],
    [{ sector: Number.MAX_SAFE_INTEGER, count: 2 }, /beyond any device/],
    [{ colour: 'red' }, /unknown option 'colour'/],
  ] as const) {
    it(`refuse ${JSON.stringify(wrong)}`, () => {
      assert.throws(() => options(wrong), { code: 'ERR_BLKFILTER_ARGUMENT', message });
    });
  }
});

describe('a batch', () => {
  const columns: NativeBatch = {
    length: 2,
    time: BigUint64Array.of(5n, 6n),
    latency: Float64Array.of(10, 20),
    sector: Float64Array.of(8, 16),
    count: Float64Array.of(8, 1),
    cgroup: Float64Array.of(1, 0),
    matches: Float64Array.of(0, 2),
    operation: Uint32Array.of(0, 1),
    flags: Uint32Array.of(1, 0),
    status: Uint32Array.of(0, 5),
    cpu: Uint32Array.of(0, 1),
    pid: Uint32Array.of(10, 11),
    tid: Uint32Array.of(10, 12),
    comm: Uint32Array.of(0, 0),
    comms: ['dd'],
    submittedTo: Uint32Array.of(0, 0),
    device: Uint32Array.of(1, 0),
    devices: ['999:1', '999:0'],
    segmentFirsts: Uint32Array.of(0, 0, 2),
    segmentPositions: Float64Array.of(8192, 8300),
    segmentOffsets: Uint32Array.of(0, 100),
    segmentLengths: Uint32Array.of(108, 404),
    drops: [],
    ended: null,
  };

  it('gives its events as objects', () => {
    const batch = new TraceBatch(columns);
    const [first, second] = [...batch];
    assert.equal(batch.length, 2);
    assert.deepEqual(first?.flags, ['sync']);
    assert.deepEqual([first.device, first.submittedTo, first.segments], ['999:0', '999:1', []]);
    assert.deepEqual(second, {
      ...{ time: 6n, latency: 20, operation: 'write', flags: [], submittedTo: '999:1', device: '999:1', sector: 16, count: 1 },
      ...{ pid: 11, tid: 12, comm: 'dd', cgroup: 0, cpu: 1, status: 'EIO', matches: 2 },
      segments: [
        { offset: 0, length: 108, sector: 16, count: 1 },
        { offset: 100, length: 404, sector: 16, count: 1 },
      ],
    });
    assert.throws(() => batch.at(2), RangeError);
  });
});

describe('lines', () => {
  it('of text', () => {
    const lines = new TextLines({ matches: false });
    assert.equal(
      `${lines.heading}${lines.event({ ...event, segments: [] })}${lines.event({ ...event, time: event.time + 1500n, submittedTo: 'sda', flags: [], status: 'EIO' })}`,
      '    TIME(s) DEVICE     COMM                 TID OPERATION                  SECTOR+COUNT   LAT(ms)\n' +
        '   0.000000 sda1>sda   fio                  101 write sync fua                   2048+8     1.235\n' +
        '   0.000002 sda        fio                  101 write                            2048+8     1.235 EIO\n' +
        '            segment of 4096 bytes at 512 of its page, sectors 2048+8\n',
    );
    assert.match(new TextLines({ matches: true }).event(event), / 1\.235 {7}3\n/);
    assert.equal(lines.drops({ cpu: 1, count: 7 }), '7 events lost on CPU 1: its buffer was full\n');
  });

  it('of JSON are exact', () => {
    const line = new JsonLines().event(event);
    assert.match(line, /^\{"time":1152921504606846976,"latency":1234567,"operation":"write"/);
    const { time, ...rest } = event;
    assert.deepEqual(JSON.parse(line), { time: Number(time), ...rest });
    assert.equal(new JsonLines().drops({ cpu: 1, count: 7 }), '{"drops":{"cpu":1,"count":7}}\n');
    assert.equal(new JsonLines().end('removed'), '{"ended":"removed"}\n');
  });
});

describe('a histogram', () => {
  it('counts by powers of two', () => {
    const histogram = new Histogram();
    for (const value of [0, 0.9, 1, 2, 3.99, 4, 7, 8, 1023, 1024]) histogram.add(value);
    const counts = histogram.buckets().map(({ from, to, count }) => [from, to, count]);
    assert.deepEqual(counts.slice(0, 4), [[0, 1, 3], [2, 3, 2], [4, 7, 2], [8, 15, 1]]);
    assert.deepEqual(counts.slice(-2), [[512, 1023, 1], [1024, 2047, 1]]);
    assert.equal(counts.length, 11);
  });

  it('is drawn from the first value on', () => {
    const histogram = new Histogram();
    for (const value of [5, 5, 5, 5, 20]) histogram.add(value);
    assert.deepEqual(histogramLines(histogram.buckets(), 'usecs'), [
      '     usecs               : count    distribution',
      `         4 -> 7          : 4        |${'*'.repeat(40)}|`,
      `         8 -> 15         : 0        |${' '.repeat(40)}|`,
      `        16 -> 31         : 1        |${'*'.repeat(10)}${' '.repeat(30)}|`,
    ]);
  });
});

describe('a summary', () => {
  const plain = (_: string, text: string): string => text;

  it('tells rates, latencies and areas of an interval, and begins anew', () => {
    const summary = new Summary(2 ** 21);
    for (let i = 0; i < 20; i++) summary.add({ operation: 'read', sector: 5000 + i, count: 8, latency: 100_000, status: null });
    summary.add({ operation: 'write', sector: 2 ** 21 - 8, count: 8, latency: 3_000_000, status: 'EIO' });
    summary.add({ operation: 'flush', sector: 0, count: 0, latency: 1_000_000, status: null });
    summary.addDropped(5);
    const figures = summary.take(2);
    assert.deepEqual(figures.operations, [
      { operation: 'read', requests: 20, bytes: 81920, requestsPerSecond: 10, bytesPerSecond: 40960, averageLatency: 100_000, longestLatency: 100_000, errors: 0 },
      { operation: 'write', requests: 1, bytes: 4096, requestsPerSecond: 0.5, bytesPerSecond: 2048, averageLatency: 3_000_000, longestLatency: 3_000_000, errors: 1 },
      { operation: 'flush', requests: 1, bytes: 0, requestsPerSecond: 0.5, bytesPerSecond: 0, averageLatency: 1_000_000, longestLatency: 1_000_000, errors: 0 },
    ]);
    assert.deepEqual(figures.areas, [
      { sector: 4096, count: 2048, requests: 20, bytes: 81920 },
      { sector: 2 ** 21 - 2048, count: 2048, requests: 1, bytes: 4096 },
    ]);
    assert.equal(figures.latency.reduce((sum, { count }) => sum + count, 0), 22);
    const text = summaryLines('/dev/sda', figures, plain).join('\n');
    assert.match(text, /^\/dev\/sda, the last 2\.0 s; 5 events lost.*\n\nOPERATION +REQ\/s.*\nread +10 +40 KiB +0\.100 +0\.100 +0\n/);
    assert.match(text, /\n4096-6143 +20 +80 KiB\n/);

    const empty = summary.take(1);
    assert.deepEqual([empty.operations, empty.areas, empty.dropped], [[], [], 0]);
    assert.deepEqual(summaryLines('/dev/sda', empty, plain), ['/dev/sda, the last 1.0 s', 'no requests']);
  });
});
