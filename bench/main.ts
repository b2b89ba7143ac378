// SPDX-License-Identifier: MIT
//
//     main.js [CHAPTER]...
//
// Runs the benchmarks, or some of their chapters, in the virtual machine, and prints them as Markdown. That of several CPUs
// runs where the emulator's plugin counts, which tells by BLKFILTER_STORES where it leaves its results.
import { release } from 'node:os';

import { sh } from './measure.js';
import { moving } from './moving.js';
import { parallel } from './parallel.js';
import { profile } from './profile.js';
import { reading } from './reading.js';
import { requests } from './request.js';
import { stall } from './stall.js';

const counted = process.env.BLKFILTER_STORES;

const chapters: Record<string, () => Promise<string>> = counted ? { 'CPUs in parallel': () => parallel(counted) } : {
  'What a request costs': requests,
  'Where a request goes, by profile': profile,
  'Reading what changed': reading,
  'Moving what changed': moving,
  'Stalls': stall,
};

const versions = (): string =>
  [`Linux ${release()}`, `Node ${process.version}`, sh('fio --version').trim(), sh('rsync --version | head -n 1').trim()].join(', ');

const chosen = process.argv.slice(2);
for (const [title, chapter] of Object.entries(chapters)) {
  if (chosen.length > 0 && !chosen.some((word) => title.toLowerCase().includes(word))) continue;
  console.log(`## ${title}\n\n${await chapter()}\n`);
}
if (!counted) console.log(versions());
