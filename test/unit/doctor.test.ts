// SPDX-License-Identifier: MIT
// What doctor makes of what it finds. That it finds it is tested where the modules are, in the virtual machine.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ModuleStatus } from 'blkfilter';
import { kernel, moduleCheck } from '#lib/doctor.js';
import { packageVersion } from '#lib/package.js';

describe('doctor', () => {
  const none: ModuleStatus = {
    name: 'blkfilter',
    loaded: false,
    version: null,
    references: null,
    installed: false,
    built: null,
    fileVersion: null,
    signer: null,
  };
  const old = { fileVersion: '0.0.1' };
  const now = { fileVersion: packageVersion };
  const built = { built: '/kernel/core/blkfilter.ko' };
  const renewed = /^`blkfilter module install`, then `blkfilter module unload` and `blkfilter module load`$/;
  const cases: [string, Partial<ModuleStatus>, RegExp, RegExp | null][] = [
    ['is not there', {}, /neither/, /module build/],
    ['is built', { ...built, ...now }, /^not loaded; built$/, /module load/],
    ['is installed', { installed: true, ...now }, /^not loaded; installed$/, /module load/],
    ['is loaded', { loaded: true, version: packageVersion, ...built, ...now }, /^loaded, version /, null],
    ['does not tell its version', { loaded: true }, /unknown/, null],
    ['is loaded in another version, and installed', { loaded: true, version: '0.0.1', installed: true, ...built, ...old }, /0\.0\.1/, renewed],
    ['is loaded in another version, and built', { loaded: true, version: '0.0.1', ...built, ...now }, /0\.0\.1/, /module build.*unload/],
    ['is installed in another version', { installed: true, ...built, ...old }, /^not loaded; installed, version 0\.0\.1/, /module install/],
    ['is built in another version', { ...built, ...old }, /^not loaded; built, version 0\.0\.1/, /module build/],
    ['would be loaded next in another version', { loaded: true, version: packageVersion, installed: true, ...old }, /^loaded; installed, version 0\.0\.1/, /module install/],
  ];
  for (const [what, status, detail, hint] of cases) {
    it(`knows a module that ${what}`, () => {
      const check = moduleCheck({ ...none, ...status });
      assert.match(check.detail, detail);
      if (hint) assert.match(check.hint ?? '', hint);
      assert.deepEqual([check.ok, check.hint === null], [hint === null, hint === null]);
    });
  }

  it('knows kernels that the modules refuse', () => {
    const config = 'CONFIG_PREEMPT=y\n# CONFIG_PREEMPT_RT is not set\n';
    assert.equal(kernel('6.1.0-53-amd64', config).ok, true);
    assert.equal(kernel('7.0', undefined).ok, true);
    assert.match(kernel('6.0.19', config).hint ?? '', /6\.1/);
    assert.match(kernel('6.1.0-53-rt-amd64', 'CONFIG_PREEMPT_RT=y\n').detail, /with PREEMPT_RT/);
  });
});
