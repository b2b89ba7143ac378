// SPDX-License-Identifier: MIT
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { ChangeBitmap, ExtentJoiner, ExtentList } from '#lib/extents.js';
import type { Extent } from 'blkfilter';

/** The runs of true, as extents of one sector for each element. */
function runs(changed: boolean[], from = 0): Extent[] {
  const extents: Extent[] = [];
  changed.forEach((is, i) => {
    const last = extents.at(-1);
    if (!is) return;
    if (last && last.sector + last.count === from + i) last.count++;
    else extents.push({ sector: from + i, count: 1 });
  });
  return extents;
}

const pairs = (extents: Extent[]): Float64Array => new Float64Array(extents.flatMap(({ sector, count }) => [sector, count]));

describe('extents', () => {
  it('are sector and count in turns', () => {
    const list = new ExtentList(new Float64Array([1, 2, 2 ** 53 - 1, 4]));
    assert.equal(list.length, 2);
    assert.deepEqual([...list], [
      { sector: 1, count: 2 },
      { sector: 2 ** 53 - 1, count: 4 },
    ]);
    assert.deepEqual([...new ExtentList(new Float64Array())], []);
  });

  it('are the same wherever batches were cut', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (changed, steps) => {
        const joiner = new ExtentJoiner();
        const joined: Extent[] = [];
        let cursor = 0;
        do {
          const next = Math.min(changed.length, cursor + (steps.next().value as number));
          joined.push(...joiner.push(pairs(runs(changed.slice(cursor, next), cursor)), next, next === changed.length));
          cursor = next;
        } while (cursor < changed.length);
        assert.deepEqual(joined, runs(changed));
      }),
    );
  });
});

describe('a bitmap', () => {
  const bitmaps = fc.record({
    changed: fc.array(fc.boolean(), { minLength: 1, maxLength: 100 }),
    blockSectors: fc.constantFrom(8, 128),
    first: fc.nat({ max: 1000 }),
    // How much of the last block the device's end cuts off.
    cut: fc.nat({ max: 7 }),
  });

  function bitmapOf({ changed, blockSectors, first, cut }: typeof bitmaps extends fc.Arbitrary<infer T> ? T : never) {
    const bits = new Uint8Array(Math.ceil(changed.length / 8));
    changed.forEach((is, i) => {
      bits[i >> 3] = (bits[i >> 3] ?? 0) | (Number(is) << (i & 7));
    });
    return new ChangeBitmap('', 1, first * blockSectors, changed.length * blockSectors - cut, blockSectors, bits);
  }

  it('says the same by sector and as extents', () => {
    fc.assert(
      fc.property(bitmaps, (parts) => {
        const bitmap = bitmapOf(parts);
        const bySector = Array.from({ length: bitmap.count }, (_, i) => bitmap.has(bitmap.sector + i));
        assert.deepEqual([...bitmap.extents()], runs(bySector, bitmap.sector));
        bySector.forEach((is, i) => {
          assert.equal(is, parts.changed[Math.floor(i / parts.blockSectors)]);
        });
      }),
      { numRuns: 50 },
    );
  });

  it('knows nothing outside of its range', () => {
    const bitmap = new ChangeBitmap('', 1, 128, 100, 128, new Uint8Array([0xff]));
    assert.throws(() => bitmap.has(127), RangeError);
    assert.throws(() => bitmap.has(228), RangeError);
    assert.throws(() => bitmap.has(NaN), RangeError);
    // Bits beyond the range's end are not looked at.
    assert.deepEqual([...bitmap.extents()], [{ sector: 128, count: 100 }]);
  });
});
