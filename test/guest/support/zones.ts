// SPDX-License-Identifier: MIT
//
// A disk with zones, and what the kernel knows of the operations on them. Its statistics count a zone append's data, but
// not a zone that is reset or finished, so those are traced.
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

import { haveModule, sh } from './run.js';

const CONFIG = '/sys/kernel/config/nullb/nullb0';
const TRACING = '/sys/kernel/tracing';
const EVENT = `${TRACING}/events/block/block_bio_queue`;

export const haveZones = haveModule('null_blk');

/** A disk of 512 MiB in zones of 8 MiB that holds its data; operations on zones are traced from now on. */
export function zonedDisk(): string {
  sh(`modprobe null_blk nr_devices=0; mkdir ${CONFIG}; cd ${CONFIG}
    for setting in size=512 blocksize=4096 memory_backed=1 zoned=1 zone_size=8 power=1; do echo "\${setting#*=}" > "\${setting%=*}"; done
    echo 'rwbs ~ "*N*" || rwbs ~ "*Z*"' > ${EVENT}/filter; echo > ${TRACING}/trace; echo 1 > ${EVENT}/enable`);
  return '/dev/nullb0';
}

export function removeZonedDisk(): void {
  sh(`echo 0 > ${EVENT}/enable; echo 0 > ${EVENT}/filter; rmdir ${CONFIG}; rmmod null_blk`);
}

/** How many sectors lie in the zones that were reset, finished or appended to, counted once for each operation. */
export function zonesTouched(device: string): number {
  const own = `/sys/class/block/${basename(device)}`;
  if (!existsSync(`${own}/queue/zoned`) || readFileSync(`${own}/queue/zoned`, 'utf8').trim() === 'none') return 0;
  const number = readFileSync(`${own}/dev`, 'utf8').trim().replace(':', ',');
  const size = Number(readFileSync(`${own}/size`, 'utf8'));
  const zone = Number(readFileSync(`${own}/queue/chunk_sectors`, 'utf8'));
  let touched = 0;
  for (const [, device, sector, count] of readFileSync(`${TRACING}/trace`, 'utf8').matchAll(
    /block_bio_queue: (\d+,\d+) \w+ (\d+) \+ (\d+) /g,
  )) {
    // Without a length, at the beginning: a reset of all. The tests reset zone 0 by no other operation.
    if (device === number) touched += sector === '0' && count === '0' ? size : zone;
  }
  return touched;
}
