// SPDX-License-Identifier: MIT
// What stands on a device: partitions, device-mapper and RAID devices, and the file systems that are mounted on them.
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

import { mountTable, type MountEntry } from './mounts.js';
import { readIfThere } from './sysfs.js';

/** A mounted file system. */
export interface Mount {
  /** Where: the shortest of its paths. */
  path: string;
  readOnly: boolean;
  /** The device number that files on it show, as in `8:1`. */
  number: string;
  /** Its paths lead elsewhere: something else is mounted over them. */
  hidden: boolean;
}

/** What lies on several devices at once. */
export interface Whole {
  /** What it is, in words. */
  what: string;
  /** The kernel's names of the devices. */
  devices: string[];
}

const classBlock = '/sys/class/block';

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/** The names of devices that are built on a device, but for its partitions. */
export const holdersOf = async (name: string): Promise<string[]> => list(`${classBlock}/${name}/holders`);

/** Names of the partitions of a disk. */
async function partitionsOf(name: string): Promise<string[]> {
  const entries = await list(`${classBlock}/${name}`);
  const marks = await Promise.all(entries.map((entry) => readIfThere(`${classBlock}/${name}/${entry}/partition`)));
  return entries.filter((_, i) => marks[i] !== undefined);
}

/**
 * The names of devices and of all that is built on them.
 * @param names the kernel's, such as `sda1`
 */
export async function devicesAbove(...names: string[]): Promise<Set<string>> {
  const found = new Set<string>();
  const waiting = [...names];
  for (let one = waiting.pop(); one !== undefined; one = waiting.pop()) {
    if (found.has(one)) continue;
    found.add(one);
    waiting.push(...(await partitionsOf(one)), ...(await holdersOf(one)));
  }
  return found;
}

/** The disk of a partition; of any other device those that it is built on. */
export async function directlyBelow(name: string): Promise<string[]> {
  const folder = `${classBlock}/${name}`;
  if ((await readIfThere(`${folder}/partition`)) === undefined) return list(`${folder}/slaves`);
  return [basename(dirname(await realpath(folder)))];
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
export async function nameOfNode(path: string): Promise<string | undefined> {
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

/** The devices of each btrfs that is mounted anywhere. */
export const btrfsWholes = async (): Promise<Whole[]> =>
  Promise.all(
    (await list('/sys/fs/btrfs')).map(async (uuid) => ({
      what: `btrfs ${uuid}`,
      devices: await list(`/sys/fs/btrfs/${uuid}/devices`),
    })),
  );

/** The entries of the mount table that are of devices, with all the devices that the file system lies on. */
export async function mountedOnDevices(): Promise<{ entry: MountEntry; devices: string[] }[]> {
  const btrfs = await btrfsWholes();
  const all = (await mountTable()).map(async (entry) => {
    const device = await nameOfMounted(entry);
    if (device === undefined) return [];
    // A btrfs names but one of its devices there; xfs names those of its log and of its real-time files in its options.
    const others = btrfs.find(({ devices }) => devices.includes(device))?.devices ?? [];
    const named = entry.fsOptions.flatMap((option) => /^(?:logdev|rtdev)=(.*)$/.exec(option)?.[1] ?? []);
    const more = await Promise.all(named.map(nameOfNode));
    return [{ entry, devices: [device, ...others, ...more.filter((name) => name !== undefined)] }];
  });
  return (await Promise.all(all)).flat();
}

/**
 * The file systems that are mounted on devices or on what is built on them, as far as this process can see: those that
 * are mounted in containers only are not among them. Each once.
 * @param names the kernel's names of the devices, such as `sda`
 */
export async function mountsAbove(...names: string[]): Promise<Mount[]> {
  const above = await devicesAbove(...names);
  const mounts = new Map<string, Mount>();
  for (const { entry, devices } of await mountedOnDevices()) {
    if (!devices.some((device) => above.has(device))) continue;
    const { path, type, fsOptions } = entry;
    const status = await stat(path).catch(() => undefined);
    const shown = status && numberOf(status.dev);
    // Files of a btrfs show numbers of its subvolumes.
    const hidden = shown === undefined || (shown !== entry.number && type !== 'btrfs');
    const number = hidden ? entry.number : shown;
    const known = mounts.get(number);
    const better = !known || (known.hidden === hidden ? path.length < known.path.length : known.hidden);
    if (better) mounts.set(number, { path, readOnly: fsOptions.includes('ro'), number, hidden });
  }
  return [...mounts.values()];
}

/**
 * Whether a file system is mounted on a device, or on what is built on it.
 * @param name the kernel's name of the device
 * @param dev the device number that files of the file system show
 */
export const carries = async (name: string, dev: number): Promise<boolean> =>
  (await mountsAbove(name)).some(({ number }) => number === numberOf(dev));

/** The file or device that a loop device is made of; undefined of any other device, or where this process cannot see it. */
const backingOf = async (name: string): Promise<string | undefined> =>
  (await readIfThere(`${classBlock}/${name}/loop/backing_file`))?.replace(/\n$/, '');

/** The names of a device, of its disk, and of all that it is built on. */
async function devicesBelow(name: string): Promise<Set<string>> {
  const found = new Set<string>();
  const waiting: (string | undefined)[] = [name];
  while (waiting.length > 0) {
    const one = waiting.pop();
    if (one === undefined || found.has(one)) continue;
    found.add(one);
    const backing = await backingOf(one);
    waiting.push(...(await directlyBelow(one)), backing === undefined ? undefined : await nameOfNode(backing));
  }
  return found;
}

/**
 * Whether what is written to one device changes the other: they share sectors, or one is built on the other, be it by
 * a file that lies there.
 * @param first the kernel's name of the device, as is `second`
 */
export async function overlapping(first: string, second: string): Promise<boolean> {
  const below = await devicesBelow(second);
  if (below.has(first) || (await devicesBelow(first)).has(second)) return true;
  for (const name of below) {
    const file = await backingOf(name);
    const status = file === undefined ? undefined : await stat(file).catch(() => undefined);
    if (status?.isFile() && (await carries(first, status.dev))) return true;
  }
  return false;
}
