// SPDX-License-Identifier: MIT
//
// What is applied at each start: the configuration, by the unit's command and by the initramfs' script.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import { boot, config, filteredDevices, open, readOnly, rules, type AttachRule } from 'blkfilter';

import { codeOf } from '../documents.js';
import { attempt, run, sh } from './support/run.js';

const tracked: AttachRule = { filter: 'cbt', name: 'nobody*', options: { blockSize: 4096 } };
const blocked: AttachRule = { filter: 'guard', name: 'nobody*', except: { serial: ['mine'] }, options: { rules: [readOnly] } };
const wanted = {
  rules: [tracked, blocked],
  devices: [
    { device: '/dev/sda', filter: 'cbt', options: { blockSize: '4KiB' } },
    { device: '/dev/none', filter: 'cbt' },
  ],
};

const files = (): string => sh('find /etc/systemd $(ls -d /etc/initramfs-tools 2>/dev/null) -not -type d | sort');

describe('at boot', () => {
  before(() => {
    mkdirSync('/etc/blkfilter');
    writeFileSync(config.defaultPath, JSON.stringify(wanted));
    // The image itself takes minutes to make, and this machine does not begin with it.
    if (existsSync('/usr/sbin/update-initramfs')) run('mount', '--bind', '/bin/true', '/usr/sbin/update-initramfs');
  });
  after(() => rmSync('/etc/blkfilter', { recursive: true }));

  it('the configuration is applied, and what fails is named', async () => {
    const applied = await config.apply(await config.read());
    assert.deepEqual(applied.map(({ device, error }) => [device, error?.code]), [['/dev/sda', undefined], ['/dev/none', 'ENOENT']]);
    assert.deepEqual(await rules.list(), wanted.rules);
    const device = await open('/dev/sda');
    const tracker = await device.filter('cbt');
    assert.equal((await tracker.info()).blockSize, 4096);

    // Again, as it is: by the command.
    const { status, stdout } = attempt('blkfilter', 'config', 'apply', '--json');
    assert.equal(status, 1);
    const { devices } = JSON.parse(stdout) as { devices: { error: { code: string } | null }[] };
    assert.deepEqual(devices.map(({ error }) => error?.code), [undefined, 'ENOENT']);
    const other = { ...tracked, options: { blockSize: 8192 } };
    await assert.rejects(config.apply({ rules: [other], devices: [] }), /EBUSY: there is such a rule already, with other options/);
    for (const rule of wanted.rules) await rules.remove(rule);

    // Another block size is not in force, and rules of guard are, whoever attached it.
    const outcomes = async (filter: string, options?: Record<string, unknown>) => {
      const applied = await config.apply({ rules: [], devices: [{ device: '/dev/sda', filter, options }] });
      return applied.map(({ error }) => error?.message);
    };
    assert.deepEqual(await outcomes('cbt'), [undefined]);
    assert.match((await outcomes('cbt', { blockSize: '64KiB' }))[0] ?? '', /^EBUSY: .* of 4 KiB and not of 64 KiB/);
    const guard = await device.attach('guard');
    assert.deepEqual(await outcomes('guard', { rules: [readOnly] }), [undefined]);
    assert.deepEqual((await guard.counters()).rules, [{ ...readOnly, applied: 0 }]);
    await guard.detach();
    await tracker.detach();
    await device.close();
    assert.deepEqual(await filteredDevices(), []);
  });

  it('enable puts a unit and a hook in place, disable takes them away', async () => {
    const earlier = files();
    await boot.enable();
    try {
      assert.match(sh('readlink /etc/systemd/system/sysinit.target.wants/blkfilter.service'), /blkfilter\.service$/m);
      const verdict = attempt('systemd-analyze', 'verify', '--man=no', '/etc/systemd/system/blkfilter.service');
      assert.doesNotMatch(verdict.stderr, /blkfilter\.service/);
      // As update-initramfs would, but for the modules.
      sh('mkdir /tmp/image; sed s/^manual_add/echo/ /etc/initramfs-tools/hooks/blkfilter >/tmp/hook; DESTDIR=/tmp/image sh /tmp/hook');
      assert.equal(sh('cat /tmp/image/etc/blkfilter/rules'), 'cbt name=nobody* -- block-size=4096\nguard name=nobody* serial!=mine -- read-only\n');
      run('cp', '/tmp/image/etc/blkfilter/rules', '/etc/blkfilter/rules');
      run('sh', '/etc/initramfs-tools/scripts/init-top/blkfilter');
      assert.deepEqual(await rules.list(), wanted.rules);
      for (const rule of wanted.rules) await rules.remove(rule);
    } finally {
      await boot.disable();
    }
    assert.equal(files(), earlier);
  });

  it('docs/boot.md tells what to type', async () => {
    // The first line is what test/guest/install.test.ts is about.
    const [install, ...lines] = codeOf('docs/boot.md', 'sh').join('').trim().split('\n');
    assert.equal(install, 'blkfilter module install');
    try {
      assert.match(sh(lines.join('\n')), /applied at each start$/m);
      assert.match(sh('blkfilter config disable'), /no longer/);
    } finally {
      await boot.disable();
    }
  });
});
