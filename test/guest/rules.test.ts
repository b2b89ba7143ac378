// SPDX-License-Identifier: MIT
//
// Attach rules: what a disk that is plugged in does is seen from the first request on. The kernel's own statistics count
// from the disk's birth too, so they are the truth.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';

import { open, readOnly, rules, type AttachRule } from 'blkfilter';

import { dmCreate, dmRemove, filters } from './support/devices.js';
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
      ['disks', { kind: 'disk' }, true, false],
      ['partitions', { kind: 'partition' }, false, true],
      ['neither', { kind: 'virtual' }, false, false],
      ['all but a serial number', { except: { serial: ['*000'] } }, false, false],
      ['all but other serial numbers', { name: 'sd*', except: { serial: ['*001', '*002'] } }, true, true],
      ['all but what it does not have', { kind: 'disk', except: { partuuid: ['*'] } }, true, false],
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

    it('has the options of the first rule from the first request on', async () => {
      await rules.add({ filter: 'cbt', name: 'sdd', options: { blockSize: '4KiB' } });
      await rules.add({ filter: 'cbt', name: 'sd*', options: { blockSize: '1MiB' } });
      plugged = await plug('num_parts=1');
      for (const [path, size] of [[plugged, 4096], [`${plugged}1`, 1 << 20]] as const) {
        await using device = await open(path);
        const tracker = await device.filter('cbt');
        assert.equal((await tracker.info()).blockSize, size);
      }
      sh(`dd if=/dev/zero of=${plugged} bs=4K seek=9 count=1 oflag=direct status=none`);
      await using device = await open(plugged);
      const tracker = await device.filter('cbt');
      for await (const extent of tracker.changes({ since: await markNow(tracker) })) assert.deepEqual(extent, { sector: 72, count: 8 });
    });

    it('a device that the kernel makes up is another kind', async () => {
      await rules.add({ filter: 'first', kind: 'virtual' });
      const path = dmCreate('made', '0 65536 linear /dev/sda 0');
      assert.deepEqual(filters(path), ['first']);
      dmRemove('made');
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
        { filter: 'cbt', kind: 'disk', name: 'nvme?n1', partuuid: 'a', serial: 'b', wwid: 'naa.5*' },
        { filter: 'cbt', except: { kind: ['virtual'], serial: ['a', 'b=c'] }, options: { blockSize: 4096 } },
        { filter: 'guard', kind: 'disk', options: { rules: [readOnly] } },
        {
          filter: 'guard',
          name: 'sd*',
          options: {
            rules: [
              { action: 'deny', operations: ['write', 'discard'], error: 'ENOSPC', range: { sector: 8, count: 8 }, chance: 0.000001 },
              { action: 'delay', delay: 3_600_000, range: { sector: 2 ** 40 } },
              { action: 'pass', operations: ['read'], range: { sector: 0 } },
            ],
          },
        },
      ];
      for (const rule of all) await rules.add(rule);
      assert.deepEqual(await rules.list(), all);
      await rules.remove(first);
      assert.deepEqual(await rules.list(), all.slice(1));
    });

    it('has one rule of the same devices, which goes without its options', async () => {
      const sizes = (blockSize: number): AttachRule => ({ filter: 'cbt', name: 'sdz', serial: 'a', options: { blockSize } });
      await rules.add(sizes(4096));
      await assert.rejects(rules.add(sizes(4096)), /EEXIST: there is such a rule already/);
      await assert.rejects(rules.add(sizes(8192)), /EBUSY: there is such a rule already, with other options/);
      await assert.rejects(rules.remove(sizes(8192)), /ENOENT/);
      assert.throws(() => writeFileSync('/sys/module/blkfilter/parameters/rules', 'add cbt serial=a name=sdz'), { code: 'EBUSY' });
      await rules.remove({ filter: 'cbt', name: 'sdz', serial: 'a' });
      assert.deepEqual(await rules.list(), []);
      // What the default action denies is a rule after the others.
      await rules.add({ filter: 'guard', name: 'sdz', options: { default: { action: 'deny' } } });
      assert.deepEqual(await rules.list(), [{ filter: 'guard', name: 'sdz', options: { rules: [{ action: 'deny', error: 'EIO' }] } }]);
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
      assert.equal(blkfilter('rule', 'add', 'cbt', '--name', 'sdy', '--block-size', '4KiB').status, 0);
      const preset = ['rule', 'add', 'guard', '--kind', 'disk', '--except-serial', 'a', '--except-serial', 'b', '--delay', 'read:0-7:100ms:1%', '--read-only'];
      assert.equal(blkfilter(...preset).stderr, '');
      assert.deepEqual(blkfilter('rule', 'list').stdout.split('\n').map((line) => line.split(/ {2,}/)), [
        ['FILTER', 'DEVICES', 'OPTIONS'],
        ['cbt', 'name=sdz'],
        ['cbt', 'name=sdy', 'block-size 4 KiB'],
        ['guard', 'kind=disk serial!=a serial!=b', 'read-only; delay read:0-7:100ms:1%'],
        [''],
      ]);
      assert.equal(blkfilter('rule', 'remove', 'guard', '--kind', 'disk', '--except-serial', 'b', '--except-serial', 'a').status, 0);
      assert.match(blkfilter('rule', 'add', 'guard', '--kind', 'disk').stderr, /guard needs rules here/);
      assert.match(blkfilter('rule', 'add', 'cbt', '--kind', 'disk', '--read-only').stderr, /unknown option 'rules'/);
      assert.match(blkfilter('rule', 'add', 'cbt', '--name', 'sdz').stderr, /EEXIST: there is such a rule already/);
      assert.equal(blkfilter('rule', 'remove', 'cbt', '--name', 'sdz').status, 0);
    });

    it('names what is wrong', async () => {
      const rule = { filter: 'cbt', name: 'sdz' };
      await assert.rejects(rules.remove(rule), /ENOENT: there is no such rule/);
      await assert.rejects(rules.add({ ...rule, filter: 'nothing' }), /ENOENT: no filter named 'nothing' is registered/);
      await assert.rejects(rules.add({ filter: 'cbt' }), /at least one of kind, name, partuuid, serial and wwid/);
      await assert.rejects(rules.add({ filter: 'cbt', name: 'a b' }), /no blanks/);
      assert.deepEqual(await rules.list(), []);
    });

    it('takes no line that it cannot make out', () => {
      const lines = ['add', 'add cbt', 'add cbt name', 'add cbt name=', 'add cbt name=a name=b', 'add cbt colour=red', 'cbt name=a', ' '];
      const exceptions = ['add cbt name!=', 'add cbt !=a', 'add cbt =a', 'add cbt name!=a name!=a', 'add cbt name=a\ncbt name=b'];
      const options = [
        ...['cbt -- block-size=4096', 'cbt name=a -- block-size=5000', 'cbt name=a -- block-size=4096 block-size=4096', 'cbt name=a -- colour=red'],
        ...['trace name=a -- operations=1', 'guard name=a', 'guard name=a --', 'guard name=a -- read-write', 'guard name=a -- read-only=1'],
        ...['deny=2:5:0:0', 'deny=2:0:0:0:1000000', 'deny=2:5:0:0:1000000:', 'deny=0x100000002:5:0:0:1000000', 'delay=1:1:0:0:0', 'deny', 'deny=']
          .map((word) => `guard name=a -- read-only ${word}`),
      ].map((line) => `add ${line}`);
      for (const line of [...lines, ...exceptions, ...options]) {
        assert.throws(() => writeFileSync('/sys/module/blkfilter/parameters/rules', line), { code: 'EINVAL' }, line);
      }
    });
  });
});
