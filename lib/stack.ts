// SPDX-License-Identifier: MIT
// What stands on a device: partitions, device-mapper and RAID devices, and the file systems that are mounted on them.
import { readdir, stat } from 'node:fs/promises';

import { mountTable, type MountEntry } from './mounts.js';
import { readIfThere } from './sysfs.js';

/** A mounted file system. */
export interface Mount {
  /** Where: the shortest of its paths. */
  path: string;
  readOnly: boolean;
  /** The device number that files on it show, as `stat` gives it. */
  dev: number;
}

const classBlock = '/sys/class/block';

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/** Names of the partitions of a disk. */
async function partitionsOf(name: string): Promise<string[]> {
  const entries = await list(`${classBlock}/${name}`);
  const marks = await Promise.all(entries.map((entry) => readIfThere(`${classBlock}/${name}/${entry}/partition`)));
  return entries.filter((_, i) => marks[i] !== undefined);
}

/**
 * The names of a device and of all that is built on it.
 * @param name the kernel's, such as `sda1`
 */
async function devicesAbove(name: string): Promise<Set<string>> {
  const found = new Set<string>();
  const waiting = [name];
  for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
    if (found.has(one)) continue;
    found.add(one);
    waiting.push(...(await partitionsOf(one)), ...(await list(`${classBlock}/${one}/holders`)));
  }
  return found;
}

/** A btrfs file system may have many devices, and names but one of them where it is mounted. */
async function addBtrfsDevices(names: Set<string>): Promise<Set<string>> {
  const all = new Set(names);
  for (const uuid of await list('/sys/fs/btrfs')) {
    const members = await list(`/sys/fs/btrfs/${uuid}/devices`);
    if (members.some((member) => names.has(member))) members.forEach((member) => all.add(member));
  }
  return all;
}

/**
 * The kernel's name of a device; undefined when it is gone.
 * @param number as in `8:1`
 */
export async function nameOfNumber(number: string): Promise<string | undefined> {
  const uevent = await readIfThere(`/sys/dev/block/${number}/uevent`);
  return /^DEVNAME=(.*)$/m.exec(uevent ?? '')?.[1]?.replaceAll('/', '!');
}

/** The kernel's name of the device that a path leads to. */
async function nameOfNode(path: string): Promise<string | undefined> {
  const status = await stat(path).catch(() => undefined);
  return status?.isBlockDevice() ? nameOfNumber(numberOf(status.rdev)) : undefined;
}

/** A device number as /sys writes it, from the form that `stat` gives (see makedev(3)). */
export function numberOf(rdev: number): string {
  const number = BigInt(rdev);
  const major = ((number >> 32n) & 0xfffff000n) | ((number >> 8n) & 0xfffn);
  const minor = ((number >> 12n) & 0xffffff00n) | (number & 0xffn);
  return `${major}:${minor}`;
}

/** The kernel's name of the device that a mounted file system is on; undefined if it is on none, or that is gone. */
export async function nameOfMounted({ number, source }: MountEntry): Promise<string | undefined> {
  // A btrfs has a device number of its own.
  return (await nameOfNumber(number)) ?? (source.startsWith('/') ? nameOfNode(source) : undefined);
}

/**
 * The file systems that are mounted on a device or on what is built on it, as far as this process can see: those that
 * are mounted in containers only are not among them. Each once.
 * @param name the kernel's name of the device, such as `sda`
 */
export async function mountsAbove(name: string): Promise<Mount[]> {
  const devices = await addBtrfsDevices(await devicesAbove(name));
  const mounts = new Map<number, Mount>();
  for (const entry of await mountTable()) {
    const device = await nameOfMounted(entry);
    if (device === undefined || !devices.has(device)) continue;
    const { path, fsOptions } = entry;
    const status = await stat(path).catch(() => undefined);
    if (!status) continue;
    const known = mounts.get(status.dev);
    if (known && known.path.length <= path.length) continue;
    mounts.set(status.dev, { path, readOnly: fsOptions.includes('ro'), dev: status.dev });
  }
  return [...mounts.values()];
}

/**
 * Whether a file system is mounted on a device, or on what is built on it.
 * @param name the kernel's name of the device
 * @param dev the device number that files of the file system show
 */
export const carries = async (name: string, dev: number): Promise<boolean> =>
  (await mountsAbove(name)).some((mount) => mount.dev === dev);

/** Two devices of which one is the disk of the other, or the same, hold the same sectors. */
export async function overlapping(first: string, second: string): Promise<boolean> {
  if (first === second) return true;
  return (await partitionsOf(first)).includes(second) || (await partitionsOf(second)).includes(first);
}
