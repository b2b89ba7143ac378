// SPDX-License-Identifier: MIT
// Opening a diff.
import { open } from 'node:fs/promises';

import { explain } from '../copy/target.js';
import { BlkfilterError } from '../errors.js';
import { DiffReader } from './format.js';
import { FileInput, StreamInput, type Input } from './input.js';

/** Bytes that are read of a pipe at a time. */
const CHUNK = 1 << 20;

/** Opens a diff. */
export async function openDiff(path: string): Promise<Input> {
  try {
    const file = await open(path, 'r');
    try {
      const status = await file.stat();
      if (status.isFile()) return await FileInput.of(file);
      if (!status.isDirectory()) return new StreamInput(file.createReadStream({ highWaterMark: CHUNK }));
      throw new BlkfilterError({ code: 'EISDIR', reason: 'a folder', hint: 'name a diff', path });
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw explain(error, path);
    throw new BlkfilterError({
      code: 'ENOENT',
      reason: 'no such file or directory',
      hint: '`blkfilter diff DEV --since MARK --output FILE` makes a diff',
      syscall: 'open',
      path,
      cause: error,
    });
  }
}

/** A reader of a diff that, as far as the input lets one know, is sound. */
export async function readerOf(input: Input): Promise<DiffReader> {
  const reader = await DiffReader.open(input);
  if (!(input instanceof FileInput)) return reader;
  await reader.check();
  input.rewind();
  return DiffReader.open(input);
}

/** What is wrong with a diff is said by its reader, which does not know where it lies. */
export function inFile(error: unknown, path: string): unknown {
  if (!(error instanceof BlkfilterError) || error.code !== 'EDIFF') return error;
  const { code, reason, hint } = error;
  return new BlkfilterError({ code, reason, hint, path });
}
