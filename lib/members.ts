// SPDX-License-Identifier: MIT
// What else of the machine's devices belongs to what lies on some of them.
import { wholesBySignature } from './signatures.js';
import { btrfsWholes, devicesAbove, directlyBelow, holdersOf, mountedOnDevices, type Whole } from './stack.js';

/** A device that has a part of what also lies on a device at hand, and is not at hand itself. */
export interface MissingMember {
  /** Its node. */
  device: string;
  /** What it has a part of: where a file system is mounted, the node of a device that is built on both, or what their superblocks say. */
  of: string;
}

const node = (name: string): string => `/dev/${name.replaceAll('!', '/')}`;

/** What lies on several devices at once, and on some of these. What is built on them (device mapper, RAID) is not among it. */
async function wholesOn(names: string[]): Promise<Whole[]> {
  const mounted = (await mountedOnDevices()).map(({ entry, devices }) => ({ what: entry.path, devices }));
  const btrfs = await btrfsWholes();
  // What is in use is known from the kernel, and exactly; though of ext4 it does not tell where the journal is.
  const inBtrfs = new Set(btrfs.flatMap(({ devices }) => devices));
  const idle = [];
  for (const name of names) if (!inBtrfs.has(name) && (await holdersOf(name)).length === 0) idle.push(name);
  return [...mounted, ...btrfs, ...(await wholesBySignature(idle))].filter(({ devices }) => devices.some((name) => names.includes(name)));
}

/**
 * For each of some devices, which other devices have a part of what lies on it: of a file system, or of a RAID or
 * device-mapper device that is built on it.
 * @param names the kernel's names of the devices
 */
export async function missingMembers(names: string[]): Promise<Map<string, MissingMember[]>> {
  const atHand = await devicesAbove(...names);
  const wholes = await wholesOn([...atHand]);

  /** The devices that lack, for all of a device to be at hand. */
  async function lacking(name: string, of: string): Promise<MissingMember[]> {
    if (names.includes(name)) return [];
    const below = atHand.has(name) ? await directlyBelow(name) : [];
    if (below.length === 0) return [{ device: node(name), of }];
    return (await Promise.all(below.map((one) => lacking(one, node(name))))).flat();
  }

  const missing = new Map<string, MissingMember[]>();
  for (const source of names) {
    const above = await devicesAbove(source);
    const shared = wholes.filter(({ devices }) => devices.some((name) => above.has(name)));
    const all = [{ what: node(source), devices: [...above] }, ...shared];
    const found = all.flatMap(({ what, devices }) => devices.map((name) => lacking(name, what)));
    missing.set(source, unique((await Promise.all(found)).flat()));
  }
  return missing;
}

/** Each device once. */
export const unique = (members: MissingMember[]): MissingMember[] =>
  members.filter(({ device }, i) => members.findIndex((other) => other.device === device) === i);
