// SPDX-License-Identifier: MIT
import { randomBytes } from 'node:crypto';
import { access, constants, open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve as absolute } from 'node:path';

import { BlkfilterError, explainOnPath } from './errors.js';

const known = {
  ENOENT: { hint: 'make its folder first' },
  ENOTDIR: { hint: 'make its folder first' },
  EISDIR: { reason: 'it is a folder', hint: 'name a file in that folder' },
  EEXIST: { reason: 'there is something else than a file', hint: 'name a file, or one that is not there yet' },
  EACCES: { hint: 'write it to a folder of your own' },
  EROFS: { hint: 'write it to another file system' },
  ENOSPC: { hint: 'make room, or write it to another file system' },
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
    throw new BlkfilterError({ code, path, ...known[code] });
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

/**
 * Reads a part of a file.
 * @param offset in bytes, as is `length`
 * @returns less only where the file ends before
 */
export async function readPart(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const data = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(data, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return data.subarray(0, done);
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
    throw explainOnPath(error, path, known);
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
