// SPDX-License-Identifier: MIT
// The addon on this machine. No filter request is made here: that is for the virtual machine.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';

import { open } from 'blkfilter';
import { native, type NativeDevice } from '#lib/native.js';

const opensOf = (path: string): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;

describe('open()', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
    writeFileSync(join(folder, 'file'), '');
    execFileSync('mkfifo', [join(folder, 'pipe')]);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  // The pipe would hang if it were opened before it is looked at.
  for (const [what, name] of [['a file', 'file'], ['a folder', '.'], ['a pipe', 'pipe']] as const) {
    it(`refuses ${what}`, async () => {
      const path = join(folder, name);
      await assert.rejects(open(path), { code: 'ENOTBLK', syscall: 'open', path });
      assert.equal(opensOf(path), 0);
    });
  }

  it('refuses a character device', async () => {
    await assert.rejects(open('/dev/null'), {
      name: 'BlkfilterError',
      code: 'ENOTBLK',
      errno: -15,
      message: "ENOTBLK: not a block device, open '/dev/null'",
    });
  });

  it('says what is missing', async () => {
    const path = join(folder, 'nothing');
    await assert.rejects(open(path), { code: 'ENOENT', errno: -2, path });
    await assert.rejects(open(join(folder, 'file', 'x')), { code: 'ENOTDIR' });
  });

  it('refuses what is no path', async () => {
    for (const path of ['', 'a\0b', 7, undefined]) {
      await assert.rejects(open(path as string), { code: 'ERR_BLKFILTER_ARGUMENT' });
    }
  });

  it('has the caller on the stack of its errors', async () => {
    async function aCallerOfOpen(): Promise<void> {
      await open('/dev/null');
    }
    await assert.rejects(aCallerOfOpen(), (error: Error) => error.stack?.includes('aCallerOfOpen') ?? false);
  });
});

describe('the addon', () => {
  it('takes no handle but its own', () => {
    for (const value of [undefined, null, {}, 7, Object.create({})]) {
      assert.throws(() => native().cbt.info(value as NativeDevice), { name: 'TypeError', message: /not a device/ });
    }
  });

  it('gives the limits of the UAPI', () => {
    assert.deepEqual(
      [native().filterNameLength, native().cbt.blockSizeMin, native().cbt.blockSizeDefault, native().cbt.blockSizeMax],
      [32, 4096, 65536, 1048576],
    );
  });
});

// A loop device that may well have no file behind it: it is only opened, and asked for its size.
const loop = readdirSync('/dev').map((name) => `/dev/${name}`).find((path) => {
  return /^\/dev\/loop\d+$/.test(path) && spawnSync('blockdev', ['--getsize64', path]).status === 0;
});

describe('a handle', { skip: loop ? false : 'no loop device on this machine' }, () => {
  const path = loop ?? '';

  it('tells path and size', async () => {
    const device = await open(path);
    assert.equal(device.path, path);
    const bytes = Number(execFileSync('blockdev', ['--getsize64', path], { encoding: 'utf8' }));
    assert.equal(await device.size(), bytes);
    assert.equal(await device.sectors(), bytes / 512);
    assert.deepEqual(await device.filters(), []);
    await device.close();
  });

  it('closes once, however often it is asked', async () => {
    const device = await open(path);
    assert.equal(opensOf(path), 1);
    await Promise.all([device.close(), device.close()]);
    assert.equal(opensOf(path), 0);
    await device.close();
    await device[Symbol.asyncDispose]();
  });

  it('fails when it is used after close()', async () => {
    const device = await open(path);
    const closing = device.close();
    await assert.rejects(device.sectors(), { name: 'BlkfilterError', code: 'EBADF', message: /the device is closed/, path });
    await closing;
    await assert.rejects(device.attach('cbt'), { code: 'EBADF' });
    await assert.rejects(device.detach('cbt'), { code: 'EBADF' });
    await assert.rejects(device.ctl('cbt', 1), { code: 'EBADF' });
  });

  it('does what was called before close()', async () => {
    const device = await open(path);
    const calls = Array.from({ length: 50 }, () => device.sectors());
    await device.close();
    // All are settled by now: the first to come is a result, not the timeout.
    const results = await Promise.race([Promise.all(calls), sleep(0).then(() => 'late')]);
    assert.equal(results.length, 50);
  });

  it('checks what is to be attached before it asks the kernel', async () => {
    const device = await open(path);
    await assert.rejects(device.attach('cbt', { blockSize: 5 }), { code: 'ERR_BLKFILTER_ARGUMENT' });
    await assert.rejects(device.attach('x'.repeat(33)), { code: 'ERR_BLKFILTER_ARGUMENT' });
    await assert.rejects(device.ctl('cbt', -1), { code: 'ERR_BLKFILTER_ARGUMENT' });
    await device.close();
  });

  it('is closed by await using', async () => {
    {
      await using device = await open(path);
      assert.equal(opensOf(device.path), 1);
    }
    assert.equal(opensOf(path), 0);
  });

  it('is closed by garbage collection at last', async () => {
    assert.ok(gc, 'run with --expose-gc');
    await (async () => {
      for (let i = 0; i < 20; i++) await (await open(path)).sectors();
    })();
    for (let i = 0; i < 100 && opensOf(path) > 0; i++) {
      gc();
      await sleep(10);
    }
    assert.equal(opensOf(path), 0);
  });

  const index = JSON.stringify(import.meta.resolve('blkfilter'));
  const inWorker = (code: string): Worker =>
    new Worker(`import(${index}).then(async ({ open }) => { ${code} });`, { eval: true });
  const ended = (worker: Worker): Promise<number> =>
    new Promise((resolve, reject) => {
      worker.once('error', reject).once('exit', resolve);
    });

  it('works in worker threads, which may leave it open', async () => {
    const code = `const device = await open('${path}'); await device.sectors();`;
    assert.deepEqual(await Promise.all([0, 1, 2].map(() => ended(inWorker(code)))), [0, 0, 0]);
    assert.equal(opensOf(path), 0);
  });

  it('survives the end of a worker thread in the middle of calls', async () => {
    for (let i = 0; i < 10; i++) {
      const worker = inWorker(`
        const devices = await Promise.all(Array.from({ length: 4 }, () => open('${path}')));
        const call = (device) => device.sectors().then(() => call(device));
        for (const device of devices) for (let i = 0; i < 20; i++) call(device);
        require('node:worker_threads').parentPort.postMessage('running');
      `);
      await new Promise((resolve) => worker.once('message', resolve));
      await sleep(i);
      await worker.terminate();
    }
    assert.equal(opensOf(path), 0);
  });

  it('survives the end of the process in the middle of calls', async () => {
    const code = `
      import { open } from ${index};
      const device = await open('${path}');
      for (let i = 0; i < 100; i++) device.sectors();
      device.close();
      process.exit(7);
    `;
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', code]);
    await assert.rejects(run, { code: 7, signal: null, stderr: '' });
  });
});
