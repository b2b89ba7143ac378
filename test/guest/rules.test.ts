// SPDX-License-Identifier: MIT
//
// Attach rules: what a disk that is plugged in does is seen from the first request on. The kernel's own statistics count
// from the disk's birth too, so they are the truth.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';

import { open, rules, type AttachRule } from 'blkfilter';

import { filters } from './support/devices.js';
import { markNow } from './support/extents.js';
import { plug, unplugAll } from './support/plug.js';
import { attempt, run, sh } from './support/run.js';
import { loadWitness, seenSinceBirth, unloadWitness } from './support/witness.js';

const blkfilter = (...args: string[]) => {
  const { status, stdout, stderr } = attempt('blkfilter', ...args);
  return { status, stdout, stderr };
};

describe('attach rules', () => {
  let plugged = '';
  afterEach(async () => {
    for (const rule of await rules.list()) await rules.remove(rule);
    if (existsSync('/sys/module/scsi_debug')) await unplugAll(plugged);
  });

  describe('a disk that is plugged in', () => {
    before(() => loadWitness({ first: 900, second: 100 }));
    after(() => void unloadWitness());

    it('is seen from its very first request on, and so are its partitions', async () => {
      await rules.add({ filter: 'first', name: 'sdd*' });
      await rules.add({ filter: 'cbt', name: 'sdd*' });
      plugged = await plug('num_parts=2');
      assert.equal(plugged, '/dev/sdd');
      for (const path of [plugged, `${plugged}1`, `${plugged}2`]) {
        assert.deepEqual(filters(path), ['cbt', 'first']);
        const { seen, counted } = await seenSinceBirth(path, 'first');
        assert.deepEqual(seen, counted);
        // The scan for partitions reads the disk.
        if (path === plugged) assert.ok(counted.read > 0);
      }
      sh(`dd if=/dev/zero of=${plugged}2 bs=64K count=3 oflag=direct status=none`);
      for (const path of [plugged, `${plugged}1`, `${plugged}2`]) {
        const { seen, counted } = await seenSinceBirth(path, 'first');
        assert.deepEqual(seen, counted);
        assert.equal(counted.written, path === `${plugged}1` ? 0 : 384);
      }
      const device = await open(`${plugged}2`);
      const tracker = await device.filter('cbt');
      for await (const extent of tracker.changes({ since: await markNow(tracker) })) assert.deepEqual(extent, { sector: 0, count: 384 });
      await device.close();
    });

    // scsi_debug's serial numbers are thousands, of the host's number.
    const matching: [what: string, rule: Omit<AttachRule, 'filter'>, disk: boolean, partition: boolean][] = [
      ['a name', { name: 'sd[d-f]' }, true, false],
      ['another name', { name: 'nvme*' }, false, false],
      ['a serial number', { serial: '[1-9]*000' }, true, true],
      ['another serial number', { serial: '[1-9]*001' }, false, false],
      ['a name and a serial number', { name: 'sd?', serial: '*000' }, true, false],
      ['a name and another serial number', { name: 'sd?', serial: 'other' }, false, false],
      ['a world-wide name', { wwid: 'naa.*' }, true, true],
      ['another world-wide name', { wwid: 'naa.0000*' }, false, false],
      ['a partition', { partuuid: '*-01' }, false, true],
      ['another partition', { partuuid: '*-02' }, false, false],
    ];
    for (const [what, patterns, disk, partition] of matching) {
      it(`with a rule of ${what}: the disk ${disk ? 'gets' : 'does not get'} the filter, its partition ${partition ? 'does' : 'does not'}`, async () => {
        await rules.add({ filter: 'first', ...patterns });
        plugged = await plug('num_parts=1');
        assert.deepEqual([filters(plugged), filters(`${plugged}1`)], [disk ? ['first'] : [], partition ? ['first'] : []]);
      });
    }

    it('is left alone once the rule is gone', async () => {
      await rules.add({ filter: 'first', name: 'sdd' });
      await rules.remove({ filter: 'first', name: 'sdd' });
      plugged = await plug();
      assert.deepEqual(filters(plugged), []);
    });

    it('gets what several rules say, each filter once', async () => {
      for (const name of ['sdd', 'sd*', '*']) await rules.add({ filter: 'first', name });
      await rules.add({ filter: 'second', name: 'sdd' });
      plugged = await plug();
      assert.deepEqual(filters(plugged), ['first', 'second']);
    });
  });

  describe('the list of rules', () => {
    it('is what was added, in order', async () => {
      const first: AttachRule = { filter: 'cbt', name: 'sd*' };
      const all: AttachRule[] = [
        first,
        { filter: 'cbt', name: 'nvme?n1', partuuid: 'a', serial: 'b', wwid: 'naa.5*' },
      ];
      for (const rule of all) await rules.add(rule);
      assert.deepEqual(await rules.list(), all);
      await rules.remove(first);
      assert.deepEqual(await rules.list(), all.slice(1));
    });

    it('keeps the filter from being unloaded', async () => {
      await rules.add({ filter: 'cbt', name: 'sd*' });
      assert.match(attempt('rmmod', 'blkfilter_cbt').stderr, /in use/);
      await rules.remove({ filter: 'cbt', name: 'sd*' });
      run('rmmod', 'blkfilter_cbt');
      run('modprobe', 'blkfilter_cbt');
    });

    it('is limited, and says so', async () => {
      let added = 0;
      await assert.rejects(async () => {
        for (; added < 1000; added++) await rules.add({ filter: 'cbt', name: `${added}`.padStart(100, 'x') });
      }, /ENOSPC/);
      assert.equal((await rules.list()).length, added);
    });

    it('by the command line', () => {
      assert.equal(blkfilter('rule', 'add', 'cbt', '--name', 'sdz', '--json').stdout.trim(), '{"rule":{"filter":"cbt","name":"sdz"}}');
      assert.match(blkfilter('rule', 'list').stdout, /^FILTER +NAME +PARTUUID +SERIAL +WWID\ncbt +sdz +\* +\* +\*\n$/);
      assert.match(blkfilter('rule', 'add', 'cbt', '--name', 'sdz').stderr, /EEXIST: there is such a rule already/);
      assert.equal(blkfilter('rule', 'remove', 'cbt', '--name', 'sdz').status, 0);
    });

    it('names what is wrong', async () => {
      const rule = { filter: 'cbt', name: 'sdz' };
      await assert.rejects(rules.remove(rule), /ENOENT: there is no such rule/);
      await assert.rejects(rules.add({ ...rule, filter: 'nothing' }), /ENOENT: no filter named 'nothing' is registered/);
      await assert.rejects(rules.add({ filter: 'cbt' }), /at least one of name, partuuid, serial and wwid/);
      await assert.rejects(rules.add({ filter: 'cbt', name: 'a b' }), /no blanks/);
      assert.deepEqual(await rules.list(), []);
    });

    it('takes no line that it cannot make out', () => {
      for (const line of ['add', 'add cbt', 'add cbt name', 'add cbt name=', 'add cbt name=a name=b', 'add cbt colour=red', 'cbt name=a', ' ']) {
        assert.throws(() => writeFileSync('/sys/module/blkfilter/parameters/rules', line), { code: 'EINVAL' }, line);
      }
    });
  });
});
