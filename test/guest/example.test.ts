// SPDX-License-Identifier: MIT
//
// The examples; the first is what `make demo` runs.
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

describe('examples/trace-a-file', () => {
  it('sees a text on its way to the disk and back', () => {
    clear();
    run('node', '--enable-source-maps', 'examples/dist/trace-a-file.js');
    clear();
  });
});
