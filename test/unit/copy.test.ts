// SPDX-License-Identifier: MIT
// What sync writes to, as far as that is a file.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, beforeEach, describe, it } from 'node:test';

import { piecesOf } from '#lib/copy/read.js';
import { Target } from '#lib/copy/target.js';
import { verify, type Comparison } from '#lib/copy/verify.js';
import { native } from '#lib/native.js';

const SIZE = 256 * 1024;
const SECTORS = SIZE / 512;

describe('a target', () => {
  const folder = mkdtempSync(join(tmpdir(), 'blkfilter-copy-'));
  const path = join(folder, 'target');
  const data = Buffer.alloc(SIZE, 'a');
  after(() => rmSync(folder, { recursive: true }));
  beforeEach(() => rmSync(path, { force: true }));

  const open = async (): Promise<Target> => {
    const target = await Target.open(path, { size: SIZE, create: true });
    await target.write(0, data);
    await target.flush();
    return target;
  };
  const compare = (target: Target): Promise<Comparison> =>
    verify(target, Readable.from(piecesOf(0, data)), () => [], () => undefined);

  it('is compared as it is on the disk', async () => {
    const target = await open();
    await target.forget();
    assert.deepEqual(await compare(target), { bytes: SIZE, differences: [] });
    await target.close();
  });

  it('that somebody made smaller differs where it ends', async () => {
    const target = await open();
    truncateSync(path, 20_000);
    const same = Math.floor(20_000 / 4096) * 4096;
    const lacks = { sector: same / 512, count: SECTORS - same / 512 };
    assert.deepEqual(await compare(target), { bytes: same, differences: [lacks] });
    truncateSync(path, 0);
    assert.deepEqual(await compare(target), { bytes: 0, differences: [{ sector: 0, count: SECTORS }] });
    await target.close();
  });

  it('that cannot be locked is not said to be another run\'s', async () => {
    const target = await open();
    const other = openSync(path, 'r');
    assert.equal(native().lock(other), false);
    closeSync(other);
    assert.throws(() => native().lock(other), { errno: -9, syscall: 'flock' });
    await target.close();
    assert.equal(statSync(path).size, SIZE);
  });
});
