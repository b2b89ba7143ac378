// SPDX-License-Identifier: MIT
// The mount table, as this process sees it: what is mounted in containers only is not in it.
import { readFile } from 'node:fs/promises';

export const mountTableFile = '/proc/self/mountinfo';

/** A line of the mount table. */
export interface MountEntry {
  /** Unique among what is mounted now. */
  id: number;
  /** The device number that files there show, as in `8:1`. */
  number: string;
  /** What of the file system is mounted there: `/`, or a folder by a bind mount. */
  root: string;
  path: string;
  /** Of this mount. */
  options: string[];
  type: string;
  source: string;
  /** Of the file system, wherever it is mounted. */
  fsOptions: string[];
}

const unescape = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));

function entryOf(line: string): MountEntry {
  // proc(5): id, parent, number, root, mount point, options, optional fields, "-", type, source, its options
  const [head = '', tail = ''] = line.split(' - ');
  const [id, , number = '', root = '', path = '', options = ''] = head.split(' ');
  const [type = '', source = '', fsOptions = ''] = tail.split(' ');
  return {
    id: Number(id),
    number,
    root: unescape(root),
    path: unescape(path),
    options: options.split(','),
    type,
    source: unescape(source),
    fsOptions: fsOptions.split(',').map(unescape),
  };
}

/** The entries of a mount table's text. */
export const parseMounts = (text: string): MountEntry[] => text.split('\n').filter(Boolean).map(entryOf);

/**
 * What is mounted. The kernel gives the table in parts, and keeps its place between them: what stays mounted all the
 * while is in the result once, however much is mounted and unmounted meanwhile.
 */
export const mountTable = async (): Promise<MountEntry[]> => parseMounts(await readFile(mountTableFile, 'utf8'));
