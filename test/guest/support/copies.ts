// SPDX-License-Identifier: MIT
import { readFileSync, rmSync } from 'node:fs';
import { basename } from 'node:path';

import { attempt, run, sh } from './run.js';

/** Whether two devices or files begin with the same bytes, on the disks themselves. */
export function sameBytes(first: string, second: string, bytes: number): boolean {
  for (const path of [first, second]) sh(`[ ! -b ${path} ] || blockdev --flushbufs ${path}`);
  return attempt('cmp', '-s', '-n', String(bytes), first, second).status === 0;
}

/** Takes all that a device holds away, and what was known of copies on it. */
export function blank(...devices: string[]): void {
  for (const device of devices) sh(`blkdiscard -f -z -l 512M ${device}; rm -f /run/blkfilter/$(cat /sys/class/block/${basename(device)}/dev).json`);
}

/** What a small device holds, read from the disk itself. */
export function content(device: string): Buffer {
  run('dd', `if=${device}`, 'of=/run/content', 'bs=1M', 'iflag=direct', 'status=none');
  const data = readFileSync('/run/content');
  rmSync('/run/content');
  return data;
}
