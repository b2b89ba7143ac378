// SPDX-License-Identifier: MIT
//
//     reader.js DEV SINCE iterator|batches|bitmap
//
// Reads what changed in one of the ways there are, in a process of its own whose memory tells what that takes. Prints JSON.
import { open } from 'blkfilter';

const [path = '', since = '', way = ''] = process.argv.slice(2);

/** Bitmaps of a whole large device are read in parts: 1 TiB each. */
const PART = 2 ** 31;

await using device = await open(path);
const tracker = await device.filter('cbt');
const { sectors } = await tracker.info();
const options = { since: Number(since), anyGeneration: true } as const;
const before = process.memoryUsage.rss();
const usage = process.cpuUsage();
const begin = performance.now();

let extents = 0;
if (way === 'iterator') {
  for await (const extent of tracker.changes(options)) extents += Number(extent.count > 0);
} else if (way === 'batches') {
  for await (const batch of tracker.changes(options).batches()) extents += batch.extents.length;
} else {
  for (let sector = 0; sector < sectors; sector += PART) {
    await tracker.bitmap({ ...options, sector, count: Math.min(PART, sectors - sector) });
  }
}

const seconds = (performance.now() - begin) / 1000;
const { user, system } = process.cpuUsage(usage);
const memory = process.resourceUsage().maxRSS * 1024 - before;
console.log(JSON.stringify({ extents, sectors, seconds, user: user / 1e6, system: system / 1e6, memory }));
