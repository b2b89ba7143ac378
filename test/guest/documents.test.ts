// SPDX-License-Identifier: MIT
//
// README.md and docs/: what they tell to do to a disk, by command line and from TypeScript.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { release } from 'node:os';
import { after, before, describe, it } from 'node:test';

import { codeOf } from '../documents.js';
import { loadModules, precompiled, unbuildable, unloadModules } from './support/modules.js';
import { program, run, sh } from './support/run.js';

// The disk and the folder that it speaks of.
const DISK = '/dev/sdb';
const FOLDER = '/mnt';

const modules = `/lib/modules/${release()}`;

describe('README.md', { skip: unbuildable }, () => {
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
    precompiled();
    const headers = run('readlink', '-f', `${modules}/build`).trim();
    sh(`mount -t tmpfs tmpfs ${modules}; ln -s ${headers} ${modules}/build`);
    try {
      const output = codeOf('README.md', 'sh', 'Use').map(sh).join('');
      assert.match(output, /^blkfilter_cbt +\S+ +loaded/m);
      assert.match(output, /"epoch":2\b/);
      assert.match(output, /^[1-9].* changed$/m);
      assert.match(output, /^\/var\/tmp\/replica.img is at [\da-f-]{36}:4\n[1-9].* of data, /m);
      assert.match(output, /^\/var\/tmp\/sdb.img is a copy of .*incremental.*\n.*\n.* compared: the same$/m);
    } finally {
      run('umount', modules);
      loadModules();
    }
  });

  it('its TypeScript tracks a disk', () => {
    const output = run('node', program('../documents/README.js'));
    assert.match(output, /^(sectors \d+ to \d+\n)+EALREADY /);
  });
});

describe('docs/', () => {
  // They speak of one more disk, of a folder for copies, and of a machine for backups: this one. Of what has no end of its
  // own the first lines are read, while something is read and written.
  const prelude = `
    ssh() { shift; "$@"; }
    blkfilter() {
      case $1 in
      trace | watch) command blkfilter "$@" | head -n 3 ;;
      *) command blkfilter "$@" ;;
      esac
    }
`;
  const inFolder = (folder: string, document: string): string =>
    sh(`cd ${folder}; ${prelude}${codeOf(document, 'sh').join('')}`);
  const compiled = (name: string): string => run('node', program(`../documents/${name}.js`));
  let busy: ChildProcess;

  before(() => {
    sh('mkdir -p /backup /srv; mount -t tmpfs tmpfs /backup; mount -t tmpfs tmpfs /srv');
    const io = `dd if=/dev/zero of=${DISK} bs=4096 count=1 oflag=direct; dd if=${DISK} of=/dev/null bs=4096 count=1 iflag=direct`;
    busy = spawn('sh', ['-c', `while :; do ${io}; sleep 0.2; done`], { stdio: 'ignore' });
  });
  after(() => {
    busy.kill();
    sh('umount /backup /srv');
  });

  it('diff.md', () => {
    run('blkfilter', 'attach', DISK, 'cbt');
    assert.match(inFolder('/', 'docs/diff.md'), /^\/dev\/sdc is at [\da-f-]{36}:3$/m);
    run('blkfilter', 'detach', DISK, 'cbt');
  });

  it('sync.md', () => {
    assert.match(inFolder('/', 'docs/sync.md'), /^\/backup\/sdb.img is a copy /m);
    run('blkfilter', 'detach', DISK, 'cbt');
  });

  it('scripts.md', () => {
    const volume = '/dev/mapper/vg-data';
    const write = (piece: number): string => sh(`dd if=/dev/urandom of=${volume} bs=4K seek=${piece * 256 + 7} count=1 oflag=direct`);
    sh(`dmsetup create vg-data --table '0 131072 linear /dev/sdc 0'; dd if=/dev/urandom of=${volume} bs=1M count=64 oflag=direct`);
    try {
      for (const changed of [64, 3, 0]) {
        assert.equal(compiled('scripts'), `${changed} pieces\n`);
        sh(`cd /backup/data; ls | grep -x '[0-9]*' | sort -n | xargs cat | cmp - ${volume}`);
        if (changed === 64) [5, 63, 8].forEach(write);
      }
    } finally {
      run('blkfilter', 'detach', volume, 'cbt');
      run('dmsetup', 'remove', 'vg-data');
    }
  });

  it('guard.md', () => {
    assert.match(inFolder('/', 'docs/guard.md'), /delay/);
    assert.match(compiled('guard'), /100/);
  });

  it('trace.md', () => {
    const output = inFolder('/', 'docs/trace.md');
    assert.match(output, /write/);
    assert.match(output, /"operation":"write"/);
    assert.match(compiled('trace'), /^write 0\+8 \d+ ns dd\n(.*\n)*read 2048 0\n(.*\n)*detached 0$/m);
  });

  it('watch.md', () => {
    assert.match(inFolder('/', 'docs/watch.md'), /^add +present /m);
  });

  it('filters.md', { skip: unbuildable }, () => {
    precompiled();
    sh('[ -e kernel/Module.symvers ] || blkfilter module build; mkdir /run/clone; cp -r kernel /run/clone');
    inFolder('/run/clone', 'docs/filters.md');
    assert.match(run('blkfilter', 'status'), /writeblock/);
    run('blkfilter', 'detach', DISK, 'writeblock');
    sh('rmmod blkfilter_writeblock; rm -r /run/clone');
  });
});
