// SPDX-License-Identifier: MIT
// Reading changes, against a kernel that is an array of bits.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { ChangeTracker, type Extent } from 'blkfilter';
import { Connection } from '#lib/connection.js';
import type { NativeChanges, NativeDevice } from '#lib/native.js';

type Read = [generation: string | undefined, since: number, cursor: number, end: number];

/** Looks at a bounded number of sectors a call, and returns a bounded number of extents, as the kernel does. */
class FakeTracker extends ChangeTracker {
  readonly reads: Read[] = [];

  constructor(
    readonly changed: boolean[],
    readonly steps: Iterator<number>,
    readonly capacity = 3,
  ) {
    super(new Connection('/dev/fake', {} as NativeDevice), 'cbt');
  }

  override readChanges(...read: Read): Promise<NativeChanges> {
    this.reads.push(read);
    const [, , from, wanted] = read;
    const end = wanted === 0 ? this.changed.length : Math.min(wanted, this.changed.length);
    const stop = Math.min(end, from + (this.steps.next().value as number));
    const pairs: number[] = [];
    let cursor = from;
    for (; cursor < stop; cursor++) {
      if (!this.changed[cursor]) continue;
      if (pairs.length && (pairs.at(-2) ?? 0) + (pairs.at(-1) ?? 0) === cursor) {
        pairs.push((pairs.pop() ?? 0) + 1);
      } else if (pairs.length === 2 * this.capacity) {
        break;
      } else {
        pairs.push(cursor, 1);
      }
    }
    const extents = new Float64Array(pairs);
    return Promise.resolve({ generation: 'g', epoch: 5 + this.reads.length, cursor, end, extents });
  }
}

function* always(step: number): Generator<number> {
  for (;;) yield step;
}

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
          const tracker = new FakeTracker(changed, steps);
          const extents = await collect(tracker.changes({ since: 1, sector, ...(count && { count }) }));
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
    const tracker = new FakeTracker(Array<boolean>(30).fill(true), always(10));
    const epochs: number[] = [];
    for await (const { epoch } of tracker.changes({ since: 2 }).batches()) epochs.push(epoch);
    assert.deepEqual(tracker.reads, [
      [undefined, 2, 0, 0],
      ['g', 2, 10, 30],
      ['g', 2, 20, 30],
    ]);
    assert.deepEqual(epochs, [6, 6, 6]);
  });

  it('gives one batch when nothing changed', async () => {
    const batches = [];
    for await (const batch of new FakeTracker([false], always(1)).changes({ since: 1 }).batches()) batches.push(batch);
    assert.deepEqual(batches, [{ generation: 'g', epoch: 6, extents: [], cursor: 1, end: 1 }]);
  });

  it('reads no more than is asked for', async () => {
    const tracker = new FakeTracker([true, false, true, false, true, false], always(2));
    for await (const extent of tracker.changes({ since: 1 })) {
      assert.deepEqual(extent, { sector: 0, count: 1 });
      break;
    }
    assert.equal(tracker.reads.length, 1);
  });

  it('stops at the next extent when the signal is aborted', async () => {
    const tracker = new FakeTracker(Array.from({ length: 12 }, (_, i) => i % 2 === 0), always(4));
    const abort = new AbortController();
    const reason = new Error('enough');
    const seen: Extent[] = [];
    await assert.rejects(async () => {
      for await (const extent of tracker.changes({ since: 1, signal: abort.signal })) {
        seen.push(extent);
        abort.abort(reason);
      }
    }, reason);
    assert.equal(seen.length, 1);
    assert.equal(tracker.reads.length, 1);
  });

  it('does not spin when the cursor stays', async () => {
    await assert.rejects(collect(new FakeTracker([true, true], always(0)).changes({ since: 1 })), { code: 'EPROTO' });
  });
});
