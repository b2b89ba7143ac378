// SPDX-License-Identifier: MIT
//
// `blkfilter module install` and `uninstall`, with DKMS and without: modprobe finds the modules meanwhile, and what was
// there before is there afterwards, no more and no less.
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { release } from 'node:os';
import { basename } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';

import { modules } from 'blkfilter';

import { hurried, loadModules, MODULES, precompiled, unbuildable, unloadModules } from './support/modules.js';
import { run, sh } from './support/run.js';

const folder = `/lib/modules/${release()}`;
/** Of a kernel that nobody has started. */
const other = '/lib/modules/6.1.0-other';

/** All files where any are put, and how large they are; but for the key that DKMS makes itself at its first use. */
const files = (): string[] =>
  sh(`find /etc ${folder} /usr/src /var/lib/dkms -xdev -type d -printf '%p/\\n' -o -printf '%p %s\\n'`)
    .trim()
    .split('\n')
    .filter((line) => !line.startsWith('/var/lib/dkms/mok.'))
    .sort();

const file = (name: string): string => sh(`modinfo -n ${name}`).trim();

describe('module install', { skip: unbuildable }, () => {
  let earlier: string[];

  before(() => {
    precompiled();
    unloadModules();
    // A kernel that has no other modules: that is enough, and takes depmod no time.
    const headers = run('readlink', '-f', `${folder}/build`).trim();
    sh(`mount -t tmpfs tmpfs ${folder}; ln -s ${headers} ${folder}/build`);
    sh(`touch ${folder}/modules.order ${folder}/modules.builtin; depmod`);
    earlier = files();
  });

  afterEach(async () => {
    await modules.uninstall();
    assert.deepEqual(files(), earlier);
    for (const { loaded, installed } of await modules.status()) assert.deepEqual({ loaded, installed }, { loaded: false, installed: false });
  });

  after(() => {
    run('umount', folder);
    sh(`rm -rf ${other}`);
    loadModules();
  });

  it('with DKMS, which builds them again for each kernel', { skip: hurried }, async () => {
    sh(`mkdir ${other}; ln -s $(readlink ${folder}/build) ${other}/build; touch ${other}/modules.order ${other}/modules.builtin`);
    await modules.install();
    const status = sh('dkms status');
    for (const kernel of [release(), basename(other)]) assert.match(status, new RegExp(`^blkfilter/\\S+, ${kernel}, .*: installed$`, 'm'));
    assert.match(file('blkfilter_cbt'), /\/updates\/dkms\/blkfilter_cbt\.ko$/);
    loadModules();
    for (const { loaded, installed } of await modules.status()) assert.deepEqual({ loaded, installed }, { loaded: true, installed: true });
  });

  it('without DKMS, for this kernel, and signs them', async () => {
    sh('mount --bind /dev/null /usr/sbin/dkms');
    try {
      await modules.install();
      assert.equal(file('blkfilter'), `${folder}/updates/blkfilter/blkfilter.ko`);
      assert.equal(sh('grep -v "#" /etc/modules-load.d/blkfilter.conf'), MODULES.map((name) => `${name}\n`).join(''));

      const keys = mkdtempSync('/tmp/keys-');
      sh(`cd ${keys}; openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=somebody/ -keyout key -outform DER -out cert 2>&1`);
      for (const { signer } of await modules.sign({ key: `${keys}/key`, cert: `${keys}/cert` })) assert.equal(signer, 'somebody');
      await modules.load();
      // Over an earlier installation, while they are loaded; that of another kernel stays.
      sh(`mkdir -p ${other}/updates/blkfilter; touch ${other}/updates/blkfilter/blkfilter.ko`);
      for (const { loaded } of await modules.install()) assert.equal(loaded, true);
      assert.equal(sh(`ls ${other}/updates/blkfilter`), 'blkfilter.ko\n');

      // One that cannot be built changes nothing.
      const installed = files();
      sh('mount --bind /bin/false /usr/bin/make');
      try {
        await assert.rejects(modules.install(), { code: 'EMODULE', message: /cannot build the modules/ });
      } finally {
        run('umount', '/usr/bin/make');
      }
      assert.deepEqual(files(), installed);
    } finally {
      run('umount', '/usr/sbin/dkms');
    }
  });
});
