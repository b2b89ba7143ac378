// SPDX-License-Identifier: MIT
//
// What the kernels of today do not do, or not to us: an operation that nobody knows, and another function of the name of
// one that the core hooks. The truth is what the module that does it is answered, and a map in which nothing may be.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import { open, readOnly } from 'blkfilter';

import { changedSince } from './support/extents.js';
import { loadModules, unloadModules } from './support/modules.js';
import { run } from './support/run.js';

const DISK = '/dev/sda';
const UNKNOWN = 37;

/** Has the module do it; gives the error's code, if it fails. */
function stray(what: 'operation' | 'namesake', argument: string): string | undefined {
  try {
    writeFileSync(`/sys/module/blkfilter_stray/parameters/${what}`, argument);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

describe('an operation that is not known', () => {
  before(() => {
    loadModules();
    run('modprobe', 'blkfilter_stray');
  });
  after(() => void run('rmmod', 'blkfilter_stray'));

  it('counts as one that changes data: a write blocker denies it', async () => {
    assert.equal(stray('operation', `${UNKNOWN} ${DISK}`), 'ENOTSUP', 'the kernel itself does not do it');
    await using device = await open(DISK);
    const guard = await device.attach('guard', { rules: [readOnly] });
    assert.equal(stray('operation', `${UNKNOWN} ${DISK}`), 'EIO');
    assert.equal((await guard.counters()).rules[0]?.applied, 1);
    await guard.detach();
  });
});

describe('a function of the name of one that is hooked', () => {
  before(() => unloadModules());
  after(() => void loadModules());

  for (const first of ['blkfilter_stray', 'blkfilter_cbt']) {
    it(`is left alone, where ${first} is loaded first`, async () => {
      run('modprobe', first);
      run('modprobe', '-a', 'blkfilter_cbt', 'blkfilter_stray');
      await using device = await open(DISK);
      const tracker = await device.attach('cbt');
      assert.equal(stray('namesake', DISK), undefined);
      assert.deepEqual(await changedSince(tracker), []);
      run('dd', 'if=/dev/urandom', `of=${DISK}`, 'bs=4k', 'count=1', 'oflag=direct', 'status=none');
      assert.deepEqual(await changedSince(tracker), [{ sector: 0, count: 128 }], 'the real one is hooked');
      await tracker.detach();
      await device.close();
      run('rmmod', 'blkfilter_stray');
      unloadModules();
    });
  }
});
