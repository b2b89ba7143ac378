// SPDX-License-Identifier: MIT
//
// What the commands answer with --json. Starting one takes seconds here, so each is started as seldom as can be; what
// touches no device is in test/unit, the text for people in README.md, which is run too.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, it } from 'node:test';

import { attribute } from './support/devices.js';
import { MODULES } from './support/modules.js';
import { references } from './support/race.js';
import { attempt, run, until } from './support/run.js';

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
    const { mark: start, ...attaching } = answer(0, 'attach', DISK, 'cbt', '--option', 'block-size=4KiB') as { mark: string };
    assert.deepEqual(attaching, { device, filter: 'cbt', altitude: 200000 });

    const attached = { devices: [{ path: DISK, sectors: attribute(DISK, 'size'), filters: FILTERS, bypassed: 0 }] };
    assert.deepEqual(answer(0, 'status', DISK), attached);
    assert.deepEqual(answer(0, 'status'), attached);

    const { generation, ...rest } = answer(0, 'checkpoint', DISK, '--name', 'nightly') as { generation: string };
    const mark = `${generation}:2`;
    assert.match(generation, /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    assert.deepEqual([start, rest], [`${generation}:1`, { device, mark, epoch: 2 }]);

    run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=4096', 'seek=10', 'count=2', 'oflag=direct', 'status=none');
    const text = run('blkfilter', 'checkpoint', DISK);
    assert.match(text, new RegExp(`^${generation}:3\n.*--since ${generation}:3\n`));
    const changes = {
      device,
      generation,
      since: mark,
      epoch: 3,
      blockSectors: 8,
      changedSectors: 16,
      extents: [{ sector: 80, count: 16 }],
    };
    assert.deepEqual(answer(0, 'changes', DISK, '--since', mark), changes);
    assert.deepEqual(answer(0, 'changes', DISK, '--since', 'nightly'), changes);
    assert.deepEqual(answer(0, 'changes', DISK, '--since', '2', '--any-generation'), { ...changes, since: 2 });

    const { epochs, ...info } = answer(0, 'info', DISK) as { epochs: { epoch: number; name: string | null }[] };
    assert.deepEqual(epochs.map(({ epoch, name }) => [epoch, name]), [[1, null], [2, 'nightly'], [3, null]]);
    const { memory, began, ...known } = info as Record<string, unknown>;
    assert.deepEqual([typeof memory, typeof began], ['number', 'string']);
    const sectors = attribute(DISK, 'size');
    const state = { device, sectors, generation, gap: 'attached', overreported: 0 };
    assert.deepEqual(known, { ...state, blockSize: 4096, epoch: 3, mark: `${generation}:3` });

    const another = generation.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
    const gone: Failure['error'][] = [];
    for (const since of [`${another}:2`, `${another.slice(0, 8)}:2`]) gone.push(failure(1, 'changes', DISK, '--since', since));
    assert.deepEqual(answer(0, 'forget', DISK, 'nightly'), { device, name: 'nightly' });
    gone.push(failure(1, 'diff', DISK, '--since', 'nightly', '--output', '/dev/null'));
    for (const { code, path, message, hint } of gone) {
      assert.deepEqual({ code, path }, { code: 'EGENERATION', path: DISK });
      assert.match(message ?? '', new RegExp(`gap.*${generation}.*attached anew`));
      assert.match(hint ?? '', /copy everything once/);
    }
    assert.equal(failure(2, 'changes', DISK, '--since', '2').code, 'ERR_BLKFILTER_ARGUMENT');

    assert.equal(failure(2, 'changes', DISK).code, 'ERR_BLKFILTER_ARGUMENT');
    assert.deepEqual(answer(0, 'detach', DISK, 'cbt'), { device, filter: 'cbt', altitude: 200000 });
    assert.deepEqual(answer(0, 'status'), { devices: [] });
  });

  it('traces a disk until it is interrupted, and takes off what it has attached', async () => {
    const start = (options: string) => {
      const child = spawn('sh', ['-c', `exec blkfilter trace ${DISK} ${options}`], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
      let output = '';
      child.stdout.on('data', (data: Buffer) => (output += data.toString()));
      return { child, ended, output: async (what: RegExp) => until(`${options}: ${what}`, () => what.test(output) && output) };
    };
    const trace = async (options: string) => {
      const started = start(options);
      // Attaching holds the module too, but not three times.
      await until('the stream to be open', () => references('blkfilter_trace') > 2);
      write();
      return started;
    };
    const write = () => run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=4096', 'count=2', 'oflag=direct', 'status=none');
    const unattached = { devices: [] };

    const json = await trace('--json --ops write --match x');
    const lines = await json.output(/\n.*\n/);
    assert.deepEqual(
      lines.trim().split('\n').map((line) => {
        const { operation, sector, count, comm, matches } = JSON.parse(line) as Record<string, unknown>;
        return { operation, sector, count, comm, matches };
      }),
      [0, 8].map((sector) => ({ operation: 'write', sector, count: 8, comm: 'dd', matches: 0 })),
    );
    json.child.kill('SIGINT');
    assert.equal(await json.ended, 0);
    assert.deepEqual(answer(0, 'status'), unattached);

    const summary = await trace('--summary 0.5');
    await summary.output(/^\/dev\/sda, the last [\d.]+ s[^]*\nwrite +\d[^]*usecs +: count[^]*\n0-2047 +\d/m);
    summary.child.kill('SIGTERM');
    assert.equal(await summary.ended, 0);
    assert.deepEqual(answer(0, 'status'), unattached);

    // It notices that nobody reads, with nothing to write, and may do so between two looks at its stream.
    const head = start('--ops write | head -n 1');
    await head.output(/^ *TIME\(s\) .*\n$/);
    await until('the trace to end', () => references('blkfilter_trace') === 0 && head.child.exitCode !== null);
    assert.equal(await head.ended, 0);
    assert.deepEqual(answer(0, 'status'), unattached);
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
