// SPDX-License-Identifier: MIT
//
// Disks that come and go: those of scsi_debug.
import { existsSync, readdirSync } from 'node:fs';

import { run, sh, until } from './run.js';

const hosts = '/sys/bus/pseudo/drivers/scsi_debug';

/** Plugs in a disk of 64 MiB, and gives its node. */
export async function plug(...options: string[]): Promise<string> {
  run('modprobe', 'scsi_debug', 'dev_size_mb=64', 'delay=0', ...options);
  return until('the disk of scsi_debug', () => {
    const adapter = readdirSync(hosts).find((name) => name.startsWith('adapter'));
    const found = adapter && sh(`ls ${hosts}/${adapter}/host*/target*/*/block 2>/dev/null || true`).trim();
    return found && existsSync(`/dev/${found}`) && `/dev/${found}`;
  });
}

export const unplug = (disk: string): string => sh(`echo 1 > /sys/block/${disk.slice(5)}/device/delete`);

/** Unplugs it if it is there still, and removes its driver. */
export async function unplugAll(disk: string): Promise<void> {
  const name = disk.slice(5);
  if (existsSync(`/sys/block/${name}`)) unplug(disk);
  await until('the disk to be gone', () => !existsSync(`/sys/block/${name}`));
  run('rmmod', 'scsi_debug');
}
