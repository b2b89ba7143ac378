// SPDX-License-Identifier: MIT
// Reading changes.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { markOf, type Extent, type Mark } from 'blkfilter';

import { FakeTracker, GENERATION, always } from './fake-tracker.js';

const tracked = (changed: boolean[], steps: Iterator<number>): FakeTracker =>
  new FakeTracker(changed.map((is) => (is ? 9 : 0)), steps);

const at = (epoch: number): Mark => markOf({ generation: GENERATION, epoch });

async function collect(source: AsyncIterable<Extent>): Promise<Extent[]> {
  const all: Extent[] = [];
  for await (const one of source) all.push(one);
  return all;
}

describe('reading changes', () => {
  it('gives every changed sector of the range once, in order, in extents that do not touch', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { minLength: 1, maxLength: 80 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 12 })),
        fc.nat({ max: 79 }),
        fc.option(fc.integer({ min: 1, max: 100 }), { nil: undefined }),
        async (changed, steps, start, count) => {
          const sector = start % changed.length;
          const tracker = tracked(changed, steps);
          const extents = await collect(tracker.changes({ since: at(1), sector, ...(count && { count }) }));
          const end = Math.min(changed.length, sector + (count ?? Infinity));
          const expected = changed.flatMap((is, i) => (is && i >= sector && i < end ? [i] : []));
          const reported = extents.flatMap((one) => Array.from({ length: one.count }, (_, i) => one.sector + i));
          assert.deepEqual(reported, expected);
          extents.slice(1).forEach((one, i) => {
            const before = extents[i] ?? one;
            assert.ok(before.sector + before.count < one.sector);
          });
        },
      ),
    );
  });

  it('asks for the generation of the first answer from then on, and keeps the first epoch', async () => {
    const tracker = tracked(Array<boolean>(30).fill(true), always(10));
    const epochs: number[] = [];
    for await (const { epoch } of tracker.changes({ since: 2, anyGeneration: true }).batches()) epochs.push(epoch);
    assert.deepEqual(tracker.reads, [
      [undefined, 2, 0, 0],
      [GENERATION, 2, 10, 30],
      [GENERATION, 2, 20, 30],
    ]);
    assert.deepEqual(epochs, [6, 6, 6]);
  });

  it('gives one batch when nothing changed', async () => {
    const batches = [];
    for await (const { extents, ...batch } of tracked([false], always(1)).changes({ since: at(1) }).batches()) {
      batches.push({ ...batch, extents: [...extents] });
    }
    assert.deepEqual(batches, [{ generation: GENERATION, epoch: 6, extents: [], cursor: 1, end: 1 }]);
  });

  it('reads no more than is asked for', async () => {
    const tracker = tracked([true, false, true, false, true, false], always(2));
    for await (const extent of tracker.changes({ since: at(1) })) {
      assert.deepEqual(extent, { sector: 0, count: 1 });
      break;
    }
    assert.equal(tracker.reads.length, 1);
  });

  it('stops at the next extent when the signal is aborted', async () => {
    const tracker = tracked(Array.from({ length: 12 }, (_, i) => i % 2 === 0), always(4));
    const abort = new AbortController();
    const reason = new Error('enough');
    const seen: Extent[] = [];
    await assert.rejects(async () => {
      for await (const extent of tracker.changes({ since: at(1), signal: abort.signal })) {
        seen.push(extent);
        abort.abort(reason);
      }
    }, reason);
    assert.equal(seen.length, 1);
    assert.equal(tracker.reads.length, 1);
  });

  it('does not spin when the cursor stays', async () => {
    await assert.rejects(collect(tracked([true, true], always(0)).changes({ since: at(1) })), { code: 'EPROTO' });
  });
});
