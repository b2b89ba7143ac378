// SPDX-License-Identifier: MIT
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { formatDuration, formatRange, formatSize, parseDuration, parseRange, parseSize } from 'blkfilter';

const wrongArgument = { name: 'BlkfilterError', code: 'ERR_BLKFILTER_ARGUMENT' };

describe('sizes', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['4096', 4096],
    ['512B', 512],
    ['64KiB', 65536],
    ['64K', 65536],
    ['64k', 65536],
    ['64 KiB', 65536],
    ['64KB', 64000],
    ['1M', 1 << 20],
    ['1G', 1 << 30],
    ['16TiB', 2 ** 44],
  ] as const) {
    it(`reads ${text}`, () => {
      assert.equal(parseSize(text), bytes);
    });
  }

  for (const text of ['', 'K', '-1', '1.5K', '64iB', '64KKB', '64 apples', '0x10', '9007199254740993', '9000P', '1e3']) {
    it(`refuses '${text}'`, () => {
      assert.throws(() => parseSize(text), wrongArgument);
    });
  }

  it('reads what it writes, when it writes whole units', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1023 }), fc.integer({ min: 0, max: 4 }), (n, power) => {
        assert.equal(parseSize(formatSize(n * 1024 ** power)), n * 1024 ** power);
      }),
    );
  });

  it('writes fractions with one digit', () => {
    assert.equal(formatSize(1536), '1.5 KiB');
    assert.equal(formatSize(0), '0 B');
    assert.equal(formatSize(1023), '1023 B');
    assert.equal(formatSize(1023.9 * 1024), '1023.9 KiB');
    assert.equal(formatSize(1024 ** 2 - 1), '1.0 MiB');
    assert.equal(formatSize(1024 ** 6 - 1), '1024 PiB');
  });
});

describe('ranges', () => {
  it('includes both ends', () => {
    assert.deepEqual(parseRange('0-2047'), { sector: 0, count: 2048 });
    assert.deepEqual(parseRange('5-5'), { sector: 5, count: 1 });
    assert.deepEqual(parseRange('5'), { sector: 5, count: 1 });
  });

  it('has no count when it goes to the end', () => {
    assert.deepEqual(parseRange('2048-'), { sector: 2048 });
  });

  for (const text of ['', '-', '-5', '5-4', 'a-b', '1-2-3', '0-9007199254740993', '0-9007199254740991', '1.5-2']) {
    it(`refuses '${text}'`, () => {
      assert.throws(() => parseRange(text), wrongArgument);
    });
  }

  it('reads what it writes', () => {
    const exact = fc.record(
      { sector: fc.maxSafeNat(), count: fc.integer({ min: 1, max: 2 ** 31 - 1 }) },
      { noNullPrototype: true },
    );
    fc.assert(
      fc.property(
        exact.filter(({ sector, count }) => Number.isSafeInteger(sector + count)),
        (extent) => {
          assert.deepEqual(parseRange(formatRange(extent)), extent);
        },
      ),
    );
  });
});

describe('times', () => {
  for (const [text, ms] of [
    ['0ms', 0],
    ['100ms', 100],
    ['2s', 2000],
    ['90 s', 90_000],
    ['1m', 60_000],
  ] as const) {
    it(`reads ${text}`, () => {
      assert.equal(parseDuration(text), ms);
    });
  }

  for (const text of ['', '100', 'ms', '-1ms', '1.5s', '1h', '1 000ms', '1234567890s']) {
    it(`refuses '${text}'`, () => {
      assert.throws(() => parseDuration(text), wrongArgument);
    });
  }

  it('reads what it writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000_000 }), (ms) => {
        assert.equal(parseDuration(formatDuration(ms)), ms);
      }),
    );
  });
});
