// SPDX-License-Identifier: MIT
// Files that commands write: completely or not at all.
import assert from 'node:assert/strict';
import {
  existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { checkPlace, replaceFile } from '#lib/files.js';

const writeWhole = (path: string, text: string): Promise<void> => replaceFile(path, (file) => file.writeFile(text));

describe('a file that is written', () => {
  let folder: string;
  const path = (name: string): string => join(folder, name);
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
    mkdirSync(path('folder'));
  });
  after(() => rmSync(folder, { recursive: true }));

  it('takes the place of the one before', async () => {
    await writeWhole(path('page'), 'a long text');
    await writeWhole(path('page'), 'text');
    assert.equal(readFileSync(path('page'), 'utf8'), 'text');
  });

  it('is where a link leads to', async () => {
    writeFileSync(path('real'), 'old');
    symlinkSync('real', path('link'));
    await writeWhole(path('link'), 'new');
    assert.equal(readFileSync(path('real'), 'utf8'), 'new');
    rmSync(path('link'));
    assert.ok(existsSync(path('real')));
  });

  it('may be in the memory that is in /dev', async () => {
    const shared = `/dev/shm/blkfilter-${process.pid}`;
    await writeWhole(shared, 'text');
    rmSync(shared);
  });

  const wrong: [path: string, code: string, hint: RegExp][] = [
    ['missing/page', 'ENOENT', /make its folder/],
    ['page/page', 'ENOTDIR', /make its folder/],
    ['folder', 'EISDIR', /name a file/],
    ['n'.repeat(300), 'ENAMETOOLONG', /^undefined$/],
    ['/dev/null', 'EEXIST', /name a file/],
    ['/dev/no-such-disk', 'ENOENT', /lists the disks/],
    ['/dev/disk/by-none/disk', 'ENOENT', /lists the disks/],
  ];
  for (const [name, code, hint] of wrong) {
    it(`cannot be ${name.slice(0, 20)}, and leaves nothing: ${code}`, async () => {
      const to = name.startsWith('/') ? name : path(name);
      const before = readdirSync(folder);
      await assert.rejects(writeWhole(to, 'text'), (error: NodeJS.ErrnoException & { hint?: string }) => {
        assert.deepEqual([error.name, error.code, error.path], ['BlkfilterError', code, to]);
        assert.match(String(error.hint), hint);
        return true;
      });
      await assert.rejects(checkPlace(to), { name: 'BlkfilterError', code, path: to });
      assert.deepEqual(readdirSync(folder), before);
      assert.ok(existsSync('/dev/null') && !readdirSync('/dev').some((one) => one.startsWith('.blkfilter')));
    });
  }
});
