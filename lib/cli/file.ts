// SPDX-License-Identifier: MIT
// Files that commands write.
import { randomBytes } from 'node:crypto';
import { realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { getSystemErrorMap } from 'node:util';

import { BlkfilterError } from '../index.js';

const hints: Record<string, string> = {
  ENOENT: 'make its folder first',
  ENOTDIR: 'make its folder first',
  EISDIR: 'name a file in that folder',
  EEXIST: 'name a file, or one that is not there yet',
  EACCES: 'write it to a folder of your own',
  EROFS: 'write it to another file system',
  ENOSPC: 'make room, or write it to another file system',
};

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** Where a path leads to: what a link points at is replaced, not the link. */
async function resolve(path: string): Promise<string> {
  try {
    const found = await realpath(path);
    const stats = await stat(found);
    if (stats.isFile()) return found;
    // Least of all the node of a disk, which root could well replace.
    const code = stats.isDirectory() ? 'EISDIR' : 'EEXIST';
    const reason = stats.isDirectory() ? 'it is a folder' : 'there is something else than a file';
    throw new BlkfilterError({ code, path, reason, hint: hints[code] });
  } catch (error) {
    if (isMissing(error)) return path;
    throw error;
  }
}

/**
 * Writes a file completely, or not at all: as another one first, which then takes its place.
 * @throws {BlkfilterError} `EEXIST` something else than a file is there; `EISDIR`; what the system says, such as
 *   `ENOENT` (no such folder) and `ENOSPC`
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  try {
    const target = await resolve(path);
    // Beside it, for a file cannot be renamed into another file system.
    const temporary = join(dirname(target), `.blkfilter-${randomBytes(6).toString('hex')}`);
    try {
      await writeFile(temporary, text, { flag: 'wx', flush: true });
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  } catch (error) {
    if (error instanceof BlkfilterError) throw error;
    const { code = 'EIO', errno, syscall } = error as NodeJS.ErrnoException;
    const [, reason = 'it cannot be written'] = getSystemErrorMap().get(errno ?? 0) ?? [];
    throw new BlkfilterError({ code, errno, syscall, path, reason, hint: hints[code], cause: error });
  }
}
