// SPDX-License-Identifier: MIT
//
// The example that `make demo` runs.
import { describe, it } from 'node:test';

import { run } from './support/run.js';

const DISK = '/dev/sda';

/** As a new disk is. */
const clear = (): void => {
  run('blkdiscard', '--force', DISK);
  run('blockdev', '--rereadpt', DISK);
};

describe('examples/track-live-disk', () => {
  it('finds all of a file that was written', () => {
    clear();
    run('node', '--enable-source-maps', 'examples/dist/track-live-disk.js');
    clear();
  });
});
