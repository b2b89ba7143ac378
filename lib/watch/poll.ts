// SPDX-License-Identifier: MIT
import { closeSync } from 'node:fs';

import { native, type NativePoll } from '../native.js';

/** A poll of a file descriptor, which is closed if there can be none. */
export function pollOf(fd: number, what: 'readable' | 'exceptional'): NativePoll {
  try {
    return new (native().Poll)(fd, what);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
