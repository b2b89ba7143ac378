// SPDX-License-Identifier: MIT
//
// README.md: what it tells to do to a disk, by command line and from TypeScript.
import assert from 'node:assert/strict';
import { release } from 'node:os';
import { after, before, describe, it } from 'node:test';

import { codeOf } from '../readme.js';
import { loadModules, unloadModules } from './support/modules.js';
import { program, run, sh } from './support/run.js';

// The disk and the folder that it speaks of.
const DISK = '/dev/sdb';
const FOLDER = '/mnt';

const modules = `/lib/modules/${release()}`;
const unable = !/^6\.1\..*-amd64$/.test(release()) && "only the stock kernel's headers for this machine's compiler are here";

describe('README.md', { skip: unable }, () => {
  before(() => {
    run('mkfs.ext4', '-q', '-F', DISK);
    run('mount', DISK, FOLDER);
  });

  after(() => {
    run('umount', FOLDER);
    run('wipefs', '--quiet', '--all', DISK);
  });

  it('its commands build and load the modules, and track a disk', () => {
    // As on a host where the modules are not installed.
    unloadModules();
    const headers = run('readlink', '-f', `${modules}/build`).trim();
    sh(`mount -t tmpfs tmpfs ${modules}; ln -s ${headers} ${modules}/build`);
    try {
      const output = codeOf('Use', 'sh').map(sh).join('');
      assert.match(output, /^blkfilter_cbt +\S+ +loaded/m);
      assert.match(output, /"epoch":2\b/);
      assert.match(output, /^[1-9].* changed$/m);
      assert.match(output, /^\/var\/tmp\/replica.img is at epoch 4 of .*\n[1-9].* of data, /m);
      assert.match(output, /^\/var\/tmp\/sdb.img is a copy of .*incremental.*\n.*\n.* compared: the same$/m);
    } finally {
      run('umount', modules);
      loadModules();
    }
  });

  it('its TypeScript tracks a disk', () => {
    const output = run('node', program('../readme/example.js'));
    assert.match(output, /^(sectors \d+ to \d+\n)+EALREADY /);
  });
});
