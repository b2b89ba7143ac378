// SPDX-License-Identifier: MIT
import { ChangeTracker, type CbtInfo } from 'blkfilter';
import { Connection } from '#lib/connection.js';
import type { NativeChanges, NativeDevice } from '#lib/native.js';

export const GENERATION = '0f61c3ae-0000-4000-8000-000000000001';

type Read = [generation: string | undefined, since: number, cursor: number, end: number];

/**
 * A kernel that is an array: of each sector the epoch of its last change, 0 for none. It looks at a bounded number of
 * sectors a call, and returns a bounded number of extents, as the real one does.
 */
export class FakeTracker extends ChangeTracker {
  readonly reads: Read[] = [];
  state: Partial<CbtInfo> = {};

  constructor(
    readonly epochs: number[],
    readonly steps: Iterator<number>,
    readonly capacity = 3,
  ) {
    super(new Connection('/dev/fake', {} as NativeDevice), 'cbt');
  }

  override info(): Promise<CbtInfo> {
    const rest = { blockSize: 512, epoch: 5, generation: GENERATION, gap: 'attached', memory: 0, overreported: 0 };
    return Promise.resolve({ sectors: this.epochs.length, ...rest, ...this.state });
  }

  override readChanges(...read: Read): Promise<NativeChanges> {
    this.reads.push(read);
    const [generation = GENERATION, since, from, wanted] = read;
    const end = wanted === 0 ? this.epochs.length : Math.min(wanted, this.epochs.length);
    const stop = Math.min(end, from + (this.steps.next().value as number));
    const pairs: number[] = [];
    let cursor = from;
    for (; cursor < stop; cursor++) {
      if ((this.epochs[cursor] ?? 0) < since) continue;
      if (pairs.length && (pairs.at(-2) ?? 0) + (pairs.at(-1) ?? 0) === cursor) {
        pairs.push((pairs.pop() ?? 0) + 1);
      } else if (pairs.length === 2 * this.capacity) {
        break;
      } else {
        pairs.push(cursor, 1);
      }
    }
    return Promise.resolve({ generation, epoch: 5 + this.reads.length, cursor, end, extents: new Float64Array(pairs) });
  }
}

/** The same step for ever. */
export function* always(step: number): Generator<number> {
  for (;;) yield step;
}
