// SPDX-License-Identifier: MIT
// What a diff calls the marks that it leads from and to.
import { inspect } from 'node:util';

import { BlkfilterError } from '../errors.js';
import { mark, markOf, markParts, type Mark, type MarkParts } from '../mark.js';
import { inFile, openDiff, readerOf } from './open.js';

/** A mark's name in a diff, where Ceph has a snapshot's. */
export const nameOf = ({ generation, epoch }: MarkParts): string => `blkfilter-${generation}-${epoch}`;

/** Reads a name that {@link nameOf} made; undefined for any other. */
export function partsNamed(name: string): MarkParts | undefined {
  const [, generation, digits] = /^blkfilter-([\da-f-]{36})-(\d+)$/.exec(name) ?? [];
  const found = mark.safeParse(`${generation}:${digits}`);
  return found.success ? markParts(found.data) : undefined;
}

/**
 * The mark that a diff in a file leads to: what changed since is all that the next diff has to hold.
 * @throws {BlkfilterError} `EDIFF` it is damaged, cut off, or not made by this package; `ENOENT`; `EISDIR`
 */
export async function diffMark(path: string): Promise<Mark> {
  const input = await openDiff(path);
  try {
    const { to } = (await readerOf(input)).header;
    const parts = to === undefined ? undefined : partsNamed(to);
    if (parts) return markOf(parts);
    const reason = to === undefined ? 'it does not say where it leads to' : `it leads to ${inspect(to)}, which is no mark`;
    throw new BlkfilterError({ code: 'EDIFF', reason, hint: 'give the mark itself, or a diff that `blkfilter diff` made' });
  } catch (error) {
    throw inFile(error, path);
  } finally {
    await input.close();
  }
}
