// SPDX-License-Identifier: MIT
//
// The filter guard: what it denies has not happened, what it delays happens later, and it counts what it decides. The truth
// is the disk's checksum, the kernel's statistics, and what the programs that do the I/O are told.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { open, readOnly } from 'blkfilter';

import { attempt, run } from './support/run.js';

const DISK = '/dev/sda';

const write = (...more: string[]) =>
  attempt('dd', 'if=/dev/urandom', `of=${DISK}`, 'bs=4k', 'count=1', 'oflag=direct', 'status=none', ...more);

describe('guard', () => {
  before(() => void run('modprobe', 'blkfilter_guard'));
  after(() => void run('rmmod', 'blkfilter_guard'));

  it('denies by rule, counts, and passes again without', async () => {
    await using device = await open(DISK);
    const guard = await device.attach('guard', { rules: [readOnly] });
    assert.match(write().stderr, /Input\/output error/);
    assert.equal(attempt('dd', `if=${DISK}`, 'of=/dev/null', 'bs=4k', 'count=2', 'iflag=direct', 'status=none').status, 0);
    const { rules, default: rest } = await guard.counters();
    assert.deepEqual(rules, [{ ...readOnly, applied: 1 }]);
    assert.deepEqual(rest, { action: 'pass', applied: 2 });
    await guard.setRules({});
    assert.equal(write().status, 0);
    await guard.detach();
  });
});
