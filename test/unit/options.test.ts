// SPDX-License-Identifier: MIT
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { z } from 'zod';

import { ChangeTracker, parseMark, type ChangesOptions, type Mark } from 'blkfilter';
import { Connection } from '#lib/connection.js';
import type { NativeDevice } from '#lib/native.js';
import { check, checkAnswer, filterName, generation } from '#lib/options.js';

const refuses = (make: () => unknown, message: RegExp): void => {
  assert.throws(make, (error: Error & { code?: string }) => {
    assert.equal(error.code, 'ERR_BLKFILTER_ARGUMENT');
    assert.match(error.message, message);
    return true;
  });
};

describe('the options of cbt', () => {
  const options = (value: unknown) => check(ChangeTracker.options(), value, 'cbt');

  for (const [given, bytes] of [
    [4096, 4096],
    [1 << 20, 1 << 20],
    ['65536', 65536],
    ['64KiB', 65536],
    ['1M', 1 << 20],
  ] as const) {
    it(`take a block size of ${given}`, () => {
      assert.deepEqual(options({ blockSize: given }), { blockSize: bytes });
    });
  }

  it('may be left out', () => {
    assert.deepEqual(options({}), {});
  });

  for (const given of [0, 512, 2048, 4097, 12288, (1 << 20) * 2, -4096, 4096.5, NaN, Infinity, '64 apples', '2K', null, true, {}]) {
    it(`refuse a block size of ${JSON.stringify(given)}, by name`, () => {
      refuses(() => options({ blockSize: given }), /cbt\.blockSize/);
    });
  }

  it('refuse what they do not know, and say what they know', () => {
    refuses(() => options({ blocksize: 4096, foo: 1 }), /unknown option 'blocksize', 'foo'/);
    assert.throws(() => options({ foo: 1 }), { hint: 'known options: blockSize' });
  });

  it('must be an object', () => {
    for (const value of [null, 1, 'x', []]) refuses(() => options(value), /cbt/);
  });
});

describe('changes()', () => {
  const tracker = new ChangeTracker(new Connection('/dev/none', {} as NativeDevice), 'cbt');
  const uuid = '1adf10b8-b9c3-477e-8263-789401e6c25e';
  const since = parseMark(`${uuid}:1`);

  it('refuses at once, by name', () => {
    for (const epoch of [0, 1.5, 2 ** 53]) {
      refuses(() => tracker.changes({ since: epoch, anyGeneration: true }), /changes\.since/);
    }
    for (const text of ['nightly', '1adf10b8:1', `${uuid}:0`, `${uuid}:1x`, uuid]) {
      refuses(() => tracker.changes({ since: text as Mark }), /changes\.since: neither a mark/);
    }
    refuses(() => tracker.changes({} as ChangesOptions), /changes\.since/);
    refuses(() => tracker.changes({ since, sector: -1 }), /changes\.sector/);
    refuses(() => tracker.changes({ since, count: 0 }), /changes\.count/);
    refuses(() => tracker.changes({ since, sector: 2 ** 53 - 1, count: 2 }), /beyond any device/);
    refuses(() => tracker.changes({ since, signal: {} as AbortSignal }), /changes\.signal/);
    refuses(() => tracker.changes({ since, until: 2 } as ChangesOptions), /unknown option 'until'/);
  });

  it('refuses the number of an epoch alone, and a mark of any generation', () => {
    const alone = { since: 3 } as unknown as ChangesOptions;
    assert.throws(() => tracker.changes(alone), { code: 'ERR_BLKFILTER_ARGUMENT', hint: /GENERATION:3.*anyGeneration: true/ });
    refuses(() => tracker.changes({ since, anyGeneration: true } as unknown as ChangesOptions), /is of one generation/);
  });

  it('reads nothing before it is iterated over', () => {
    // The connection above cannot make a call.
    tracker.changes({ since, sector: 8, count: 8, signal: AbortSignal.abort() });
  });

  it('throws the reason of a signal that is aborted', async () => {
    const reason = new Error('enough');
    const iterator = tracker.changes({ since, signal: AbortSignal.abort(reason) })[Symbol.asyncIterator]();
    await assert.rejects(iterator.next(), reason);
  });
});

describe('checks', () => {
  it('fold a UUID to lower case and refuse the nil one', () => {
    assert.equal(check(generation, '1ADF10B8-B9C3-477E-8263-789401E6C25E', 'g'), '1adf10b8-b9c3-477e-8263-789401e6c25e');
    refuses(() => check(generation, '00000000-0000-0000-0000-000000000000', 'g'), /nil UUID/);
  });

  it('take a name that fills the field, in bytes, and no longer one', () => {
    assert.equal(check(filterName, 'x'.repeat(32), 'filter'), 'x'.repeat(32));
    refuses(() => check(filterName, 'x'.repeat(33), 'filter'), /longer than 32 bytes/);
    refuses(() => check(filterName, 'é'.repeat(17), 'filter'), /longer than 32 bytes/);
    for (const name of ['', 'a\0b', 'a\nb', 7]) refuses(() => check(filterName, name, 'filter'), /filter/);
  });

  it('tell an answer from an argument', () => {
    assert.throws(() => checkAnswer(z.object({ epoch: z.int().min(1) }), { epoch: 0 }, 'info'), {
      code: 'EPROTO',
      message: /info\.epoch/,
    });
  });

  it('say so when there are no options', () => {
    assert.throws(() => check(z.strictObject({}), { a: 1 }, 'other'), { hint: 'it takes no options' });
  });
});
