// SPDX-License-Identifier: MIT
import { randomBytes } from 'node:crypto';
import { access, constants, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve as absolute } from 'node:path';
import { getSystemErrorMap } from 'node:util';

import { BlkfilterError } from './errors.js';

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

/**
 * Fails where no file may be made. In /dev it would lie in memory, under the name of a disk that is not there.
 * @throws {BlkfilterError} `ENOENT` the path is that of a device
 */
export async function refuseDeviceName(path: string): Promise<void> {
  const folder = absolute(dirname(path));
  const real = `${await realpath(folder).catch(() => folder)}/`;
  if (!real.startsWith('/dev/') || real.startsWith('/dev/shm/')) return;
  const hint = '`lsblk -p` lists the disks that are there';
  throw new BlkfilterError({ code: 'ENOENT', path, reason: 'no such device', hint });
}

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
    if (!isMissing(error)) throw error;
    await refuseDeviceName(path);
    return path;
  }
}

/** Writes a file beside `target`, which then takes its place. */
async function replace(target: string, fill: (file: FileHandle) => Promise<void>, mode: number): Promise<void> {
  // Beside it, for a file cannot be renamed into another file system.
  const temporary = join(dirname(target), `.blkfilter-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await fill(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(target);
}

/** Makes safe which files the folder of a path holds. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r');
  await folder.sync().finally(() => folder.close());
}

/** Removes a file, if it is there: not even a power cut brings it back. */
export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await syncFolder(path);
}

/** Says of an error what it means for a file that is written. */
async function explained<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const { code, errno, syscall } = error as NodeJS.ErrnoException;
    if (error instanceof BlkfilterError || code === undefined || errno === undefined) throw error;
    const [, reason = 'it cannot be written'] = getSystemErrorMap().get(errno) ?? [];
    throw new BlkfilterError({ code, errno, syscall, path, reason, hint: hints[code], cause: error });
  }
}

/** Fails where {@link replaceFile} would, as far as that can be seen before. */
export async function checkPlace(path: string): Promise<void> {
  // The dot makes sure that it is a folder.
  await explained(path, async () => access(`${dirname(await resolve(path))}/.`, constants.W_OK));
}

/**
 * Makes a file, or replaces it: whatever happens, all of it is there afterwards, or what was there before.
 * @param fill writes it; what this throws is thrown
 * @param mode who may read it: its owner, unless told
 * @throws {BlkfilterError} `EEXIST` something else than a file is there; `EISDIR`; what the system says, such as
 *   `ENOENT` (no such folder, or no such device) and `ENOSPC`
 */
export async function replaceFile(
  path: string,
  fill: (file: FileHandle) => Promise<void>,
  mode = 0o600,
): Promise<void> {
  await explained(path, async () => replace(await resolve(path), fill, mode));
}
