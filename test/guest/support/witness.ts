// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';

import { run } from './run.js';

/** Filters that only count (test/modules/blkfilter_witness.c), by name with their altitudes. */
export function loadWitness(filters: Record<string, number>): void {
  run(
    'modprobe',
    'blkfilter_witness',
    `names=${Object.keys(filters).join(',')}`,
    `altitudes=${Object.values(filters).join(',')}`,
  );
}

export const unloadWitness = (): string => run('rmmod', 'blkfilter_witness');

/** How many witnesses are attached anywhere. */
export const liveWitnesses = (): number =>
  Number(readFileSync('/sys/module/blkfilter_witness/parameters/live', 'utf8'));

/** The command that reads a witness's counts. */
export const WITNESS_COUNT = 1;
export const WITNESS_COUNT_BYTES = 32;
