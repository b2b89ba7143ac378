// SPDX-License-Identifier: MIT
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

import type { Extent } from 'blkfilter';

import { program, run, sh, until } from './run.js';

/** Cuts a disk into partitions of so many MiB, starting at sector `start`. */
export function partition(disk: string, start: number, ...sizes: number[]): void {
  let line = '';
  let sector = start;
  for (const size of sizes) {
    line += `start=${sector} size=${size * 2048}\\n`;
    sector += size * 2048;
  }
  sh(`printf 'label: gpt\\n${line}' | sfdisk -q --no-tell-kernel --wipe never ${disk}; blockdev --rereadpt ${disk}`);
}

export function unpartition(disk: string): void {
  sh(`dd if=/dev/zero of=${disk} bs=1M count=2 conv=fsync status=none; blockdev --rereadpt ${disk}`);
}

/** The machine's NVMe disk, and its node for commands. */
export const NVME = '/dev/nvme0n1';
export const NVME_GENERIC = '/dev/ng0n1';

/** Has the NVMe disk found. */
export async function nvme(): Promise<void> {
  run('modprobe', 'nvme');
  await until('the NVMe disk', () => existsSync(NVME));
}

/** A number in a device's folder in /sys. */
export const attribute = (device: string, name: string): number =>
  Number(readFileSync(`/sys/class/block/${basename(device)}/${name}`, 'utf8'));

/** The names of the filters on a device, highest altitude first. */
export const filters = (device: string): string[] =>
  readFileSync(`/sys/class/block/${basename(device)}/filter`, 'utf8').split('\n').slice(0, -1);

/** A device-mapper device of the given table lines; gives its node, /dev/dm-N. */
export function dmCreate(name: string, ...table: string[]): string {
  sh(`printf '%s\\n' '${table.join("' '")}' | dmsetup create ${name}; dmsetup mknodes ${name}`);
  return `/dev/${run('dmsetup', 'info', '--columns', '--noheadings', '-o', 'blkdevname', name).trim()}`;
}

export const dmRemove = (name: string): string => run('dmsetup', 'remove', '--retry', name);

/** An array of md over the devices, with more of mdadm's options; gives its node. */
export function mdCreate(level: number, members: string[], ...options: string[]): string {
  const more = [...options, ...members].join(' ');
  sh(`yes | MDADM_NO_UDEV=1 mdadm --create /dev/md0 --level=${level} --raid-devices=${members.length} --run ${more} 2>&1`);
  return '/dev/md0';
}

/** Stops it, and waits until its disk is gone: the kernel takes that away in the background. */
export function mdStop(...members: string[]): void {
  sh(`MDADM_NO_UDEV=1 mdadm --stop /dev/md0 2>&1 || { find /proc/[0-9]*/fd -lname /dev/md0; cat /proc/mdstat; exit 1; }
    wipefs -qa ${members.join(' ')}
    for i in $(seq 100); do test -e /sys/block/md0 || exit 0; sleep 0.1; done; echo 'md0 does not go'; exit 1`);
}

export interface Scatter {
  how: 'direct' | 'buffered' | 'discard' | 'zeroout';
  threads: number;
  /** Changes by each thread. */
  count: number;
  /** Bytes that one change has at most. */
  max: number;
  seed: number;
}

/** Changes a device at random places; gives the places. With `faults` the kernel may inject some there. */
export function scatter(device: string, { how, threads, count, max, seed }: Scatter, { faults = false } = {}): Extent[] {
  const command = [program('scatter'), device, how, ...[threads, count, max, seed].map(String)];
  const lines = sh(`${faults ? 'echo 1 > /proc/self/make-it-fail; ' : ''}exec ${command.join(' ')}`).trim().split('\n');
  const places = lines.map((line) => {
    const [sector = NaN, sectors = NaN] = line.split(' ').map(Number);
    return { sector, count: sectors };
  });
  // The page cache writes back whole pages.
  return how === 'buffered' ? pages(places) : places;
}

const PAGE_SECTORS = 8;

function pages(places: Extent[]): Extent[] {
  return places.map(({ sector, count }) => {
    const first = Math.floor(sector / PAGE_SECTORS) * PAGE_SECTORS;
    return { sector: first, count: Math.ceil((sector + count) / PAGE_SECTORS) * PAGE_SECTORS - first };
  });
}
