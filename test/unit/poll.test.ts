// SPDX-License-Identifier: MIT
// Waiting for file descriptors, by the addon alone.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { native } from '#lib/native.js';
import { pollOf } from '#lib/watch/poll.js';

describe('Poll', () => {
  let folder: string;
  let fd: number;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
    execFileSync('mkfifo', [join(folder, 'pipe')]);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    fd = openSync(join(folder, 'pipe'), 'r+');
  });
  afterEach(() => {
    closeSync(fd);
  });

  const { Poll } = native();
  const soon = async (promise: Promise<boolean>) => Promise.race([promise, setImmediate('later')]);
  const drain = (): number => readSync(fd, Buffer.alloc(16));

  it('waits until there is something, as often as it is asked', async () => {
    const poll = new Poll(fd, 'readable');
    for (let round = 0; round < 3; round++) {
      const [first, second] = [poll.wait(), poll.wait()];
      assert.equal(await soon(first), 'later');
      writeSync(fd, 'x');
      assert.deepEqual(await Promise.all([first, second]), [true, true]);
      assert.equal(await poll.wait(), true);
      drain();
    }
    poll.close();
  });

  it('that cannot be leaves no descriptor', () => {
    const other = openSync(join(folder, 'pipe'), 'r+');
    assert.throws(() => pollOf(other, 'writable' as 'readable'), TypeError);
    assert.throws(() => closeSync(other), { code: 'EBADF' });
  });

  it('that is closed waits for nothing', async () => {
    const poll = new Poll(fd, 'readable');
    const waiting = poll.wait();
    poll.close();
    poll.close();
    assert.deepEqual([await waiting, await poll.wait()], [false, false]);
  });

  it('gives the descriptor up when it is closed', async () => {
    for (let round = 0; round < 3; round++) {
      const poll = new Poll(fd, 'readable');
      const waiting = poll.wait();
      poll.close();
      assert.equal(await waiting, false);
    }
  });

  it('refuses what cannot be waited for', async () => {
    const file = openSync(join(folder, 'file'), 'w');
    const always = new Poll(file, 'readable');
    assert.equal(await always.wait(), true);
    always.close();
    closeSync(file);
    assert.throws(() => new Poll(file, 'readable'), { errno: -9, syscall: 'fcntl' });
    assert.throws(() => new Poll(fd, 'writable' as 'readable'), TypeError);
  });

  const unable = process.geteuid?.() !== 0 && 'only root can become somebody who may have no more threads';
  it('is an error where no thread can be started', { skip: unable }, () => {
    const script = `
      import { native } from ${JSON.stringify(import.meta.resolve('#lib/native.js'))};
      const { Poll } = native();
      process.setuid(65534);
      for (let round = 0; round < 2; round++) try { new Poll(0, 'readable'); } catch (error) { console.log(error.syscall, error.errno); }`;
    const command = ['--nproc=1', process.execPath, '--input-type=module', '-e', script];
    assert.equal(execFileSync('prlimit', command, { encoding: 'utf8' }), 'pthread_create -11\n'.repeat(2));
  });

  it('may be collected', async () => {
    assert.ok(gc, 'run with --expose-gc');
    for (let round = 0; round < 20; round++) {
      const poll = new Poll(fd, 'readable');
      if (round % 2) poll.close();
      gc();
      await setImmediate();
    }
  });

  const inWorker = (code: string): Worker => {
    const source = `
      const { native } = await import(${JSON.stringify(import.meta.resolve('#lib/native.js'))});
      const poll = new (native().Poll)(${fd}, 'readable');
      ${code}`;
    return new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  };
  const ended = async (worker: Worker): Promise<number> =>
    new Promise((resolve, reject) => {
      worker.once('error', reject).once('exit', resolve);
    });

  it('holds nothing up that nobody waits on', async () => {
    assert.equal(await ended(inWorker('')), 0);
    assert.equal(await ended(inWorker('const wait = poll.wait(); poll.close(); await wait;')), 0);
  });

  it('survives the end of a worker thread that waits', async () => {
    for (let round = 0; round < 5; round++) {
      const worker = inWorker(`
        (await import('node:worker_threads')).parentPort.postMessage('waiting');
        for (;;) await poll.wait();`);
      const exit = ended(worker);
      await new Promise((resolve) => worker.once('message', resolve));
      if (round % 2) writeSync(fd, 'x');
      await worker.terminate();
      await exit;
      if (round % 2) drain();
    }
  });
});
