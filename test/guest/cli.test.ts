// SPDX-License-Identifier: MIT
//
// What the commands answer with --json. Starting one takes seconds here, so each is started as seldom as can be; what
// touches no device is in test/unit, the text for people in README.md, which is run too.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { attribute } from './support/devices.js';
import { MODULES } from './support/modules.js';
import { attempt, run } from './support/run.js';

const DISK = '/dev/sda';
const FILTERS = [{ name: 'cbt', altitude: 200000 }];

interface Doctor {
  ok: boolean;
  checks: { name: string; ok: boolean; detail: string; hint: string | null }[];
}

interface Failure {
  error: Record<'code' | 'syscall' | 'path' | 'message' | 'hint', string | null>;
}

/** The document that a command answers with, and nothing else. */
function answer(status: number, ...args: string[]): unknown {
  const { stdout, stderr, ...ended } = attempt('blkfilter', ...args, '--json');
  assert.deepEqual({ stderr, ...ended }, { stderr: '', status }, args.join(' '));
  return JSON.parse(stdout);
}

/** The error that a command fails with, and nothing else. */
function failure(status: number, ...args: string[]): Failure['error'] {
  const { stdout, stderr, ...ended } = attempt('blkfilter', ...args, '--json');
  assert.deepEqual({ stdout, ...ended }, { stdout: '', status }, args.join(' '));
  return (JSON.parse(stderr) as Failure).error;
}

/** Whether all modules are loaded, as a command answered. */
function assertLoaded(loaded: boolean, document: unknown): void {
  const { modules } = document as { modules: { name: string; loaded: boolean; version: string | null }[] };
  const states = modules.map((module) => [module.name, module.loaded, module.version !== null]);
  assert.deepEqual(states, MODULES.map((name) => [name, loaded, loaded]));
}

describe('blkfilter, the command', () => {
  it('tracks a disk', () => {
    const device = DISK;
    assert.deepEqual(answer(0, 'attach', DISK, 'cbt', '--option', 'block-size=4KiB'), { device, filter: 'cbt', altitude: 200000 });

    const attached = { devices: [{ path: DISK, sectors: attribute(DISK, 'size'), filters: FILTERS, bypassed: 0 }] };
    assert.deepEqual(answer(0, 'status', DISK), attached);
    assert.deepEqual(answer(0, 'status'), attached);

    const { generation, ...rest } = answer(0, 'checkpoint', DISK) as { generation: string };
    assert.match(generation, /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    assert.deepEqual(rest, { device, epoch: 2 });

    run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=4096', 'seek=10', 'count=2', 'oflag=direct', 'status=none');
    const text = run('blkfilter', 'checkpoint', DISK);
    assert.match(text, new RegExp(`^epoch 3 of generation ${generation} begins\n`));
    assert.deepEqual(answer(0, 'changes', DISK, '--since', '2', '--generation', generation), {
      device,
      generation,
      since: 2,
      epoch: 3,
      blockSectors: 8,
      changedSectors: 16,
      extents: [{ sector: 80, count: 16 }],
    });

    const another = generation.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    const { code, syscall, path, message, hint } = failure(1, 'changes', DISK, '--since', '2', '--generation', another);
    assert.deepEqual({ code, syscall, path }, { code: 'EGENERATION', syscall: 'ioctl', path: DISK });
    assert.match(message ?? '', new RegExp(`gap.*${generation}.*attached anew`));
    assert.match(hint ?? '', /copy everything once/);

    assert.equal(failure(2, 'changes', DISK).code, 'ERR_BLKFILTER_ARGUMENT');
    assert.deepEqual(answer(0, 'detach', DISK, 'cbt'), { device, filter: 'cbt', altitude: 200000 });
    assert.deepEqual(answer(0, 'status'), { devices: [] });
  });

  it('loads and unloads the modules, and tells what is missing', () => {
    assertLoaded(false, answer(0, 'module', 'unload'));
    const without = answer(1, 'doctor') as Doctor;
    assert.equal(without.ok, false);
    for (const { name, ok, hint } of without.checks) {
      assert.equal(ok, !name.startsWith('blkfilter'), name);
      assert.equal(hint, ok ? null : 'load it with `blkfilter module load`');
    }
    assert.equal(failure(1, 'attach', DISK, 'cbt').code, 'EMODULE');

    assertLoaded(true, answer(0, 'module', 'load'));
    assertLoaded(true, answer(0, 'module', 'status'));
    const { ok, checks } = answer(0, 'doctor') as Doctor;
    assert.deepEqual(checks.filter((check) => !check.ok || check.hint !== null || check.detail === ''), []);
    assert.equal(ok, true);
  });
});
