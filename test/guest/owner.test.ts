// SPDX-License-Identifier: MIT
//
// Somebody else redirects a function that the core hooks, or the kernel passes one by: no broken kernel, and no filter that
// sees nothing, but an error that names the cause.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';

import { doctor, modules, open } from 'blkfilter';

import { loadActors, unloadActors } from './support/actor.js';
import { markNow } from './support/extents.js';
import { loadModules, unloadModules } from './support/modules.js';
import { run } from './support/run.js';

const own = (fn: string): string => run('modprobe', 'blkfilter_owner', `function=${fn}`);
const kernelCheck = async () => (await doctor()).checks.find(({ name }) => name === 'self-test');
const hooksCheck = async () => (await doctor()).checks.find(({ name }) => name === 'hooks');

describe('another owner of a function that is hooked', () => {
  before(() => unloadModules());
  afterEach(() => void run('rmmod', 'blkfilter_owner'));
  after(() => void loadModules());

  for (const fn of ['blkdev_ioctl', 'bdev_disk_changed', 'del_gendisk', 'blk_mark_disk_dead']) {
    it(`${fn}: the core does not load, and says why`, async () => {
      own(fn);
      await assert.rejects(modules.load(), (error: Error & { code?: string; hint?: string }) => {
        assert.equal(error.code, 'EMODULE');
        assert.match(error.message, /Device or resource busy/);
        assert.match(error.hint ?? '', /live patch/);
        return true;
      });
      assert.match(run('dmesg'), /blkfilter: cannot hook \(-16\):.* blkdev_ioctl\b.*\n.*either somebody else redirects one/);
      const { ok, detail } = (await hooksCheck()) ?? {};
      assert.equal(ok, false);
      assert.match(detail ?? '', new RegExp(`${fn}.*owner_callback`));
    });
  }

  it('submit_bio_noacct: filters that never sleep do their work, one that may sleep is refused with the reason', async () => {
    own('submit_bio_noacct');
    run('modprobe', 'blkfilter_cbt');
    loadActors({ actor: 150_000 });
    const device = await open('/dev/sda');
    const tracker = await device.attach('cbt');
    run('dd', 'if=/dev/zero', 'of=/dev/sda', 'bs=4k', 'count=1', 'oflag=direct', 'status=none');
    for await (const extent of tracker.changes({ since: await markNow(tracker) })) assert.deepEqual(extent, { sector: 0, count: 128 });
    await assert.rejects(device.attach('actor'), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'EBUSY');
      assert.match(error.message, /another module redirects submit_bio_noacct/);
      return true;
    });
    assert.deepEqual(await device.filters(), [{ name: 'cbt', altitude: 200_000 }]);
    await tracker.detach();
    await device.close();
    unloadActors();
    unloadModules();
  });

  it('that is gone again: the core loads', async () => {
    own('blkdev_ioctl');
    run('rmmod', 'blkfilter_owner');
    await modules.load();
    assert.equal((await hooksCheck())?.ok, true);
    unloadModules();
    own('blkdev_ioctl');
  });
});

describe('a kernel on which a hook does not fire', () => {
  before(() => unloadModules());
  after(() => void loadModules());

  // It ends what goes to the disk of the core's self-test before that comes to the function that is named.
  for (const [fn, missed] of [['submit_bio', 'submit_bio_noacct'], ['submit_bio_noacct_nocheck', '__submit_bio']] as const) {
    it(`${missed}: the core does not load, and says why`, async () => {
      run('modprobe', 'blkfilter_owner', `function=${fn}`, 'ends=1');
      try {
        await assert.rejects(modules.load(), (error: Error & { code?: string; hint?: string }) => {
          assert.equal(error.code, 'EMODULE');
          assert.match(error.message, /Operation not supported/);
          assert.match(error.hint ?? '', /blkfilter doctor/);
          return true;
        });
        const refusal = new RegExp(`self-test failed: .* ${missed} on this kernel`);
        assert.match(run('dmesg'), refusal);
        const { ok, detail, hint } = (await kernelCheck()) ?? {};
        assert.equal(ok, false);
        assert.match(detail ?? '', refusal);
        assert.match(hint ?? '', /report/);
      } finally {
        run('rmmod', 'blkfilter_owner');
      }
      await modules.load();
      assert.equal((await kernelCheck())?.ok, true);
      unloadModules();
    });
  }
});
