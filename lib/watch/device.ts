// SPDX-License-Identifier: MIT
// What the kernel says of a device, in /sys and in its messages. No udev is needed.
import { readFile, readdir } from 'node:fs/promises';
import { z } from 'zod';

import { whole } from '../options.js';
import { filtersOf, readIfThere } from '../sysfs.js';
import type { DeviceInfo } from './events.js';

/** A device and the names of its filters. */
export interface Seen {
  device: DeviceInfo;
  filters: string[];
}

const number = z.coerce.number().pipe(whole);

/** The variables that identify a device, in a message as in its file `uevent`. */
export const identity = z.object({
  MAJOR: number,
  MINOR: number,
  DEVNAME: z.string(),
  DISKSEQ: number.default(0),
  PARTN: number.optional(),
  PARTNAME: z.string().optional(),
  PARTUUID: z.string().optional(),
});

/**
 * A device as its variables tell.
 * @param name the kernel's name of it
 * @param disk that of its disk, if it is a partition
 */
export function deviceOf(name: string, disk: string, variables: z.output<typeof identity>): DeviceInfo {
  const { MAJOR, MINOR, DEVNAME, DISKSEQ, PARTN, PARTNAME, PARTUUID } = variables;
  const device: DeviceInfo = { name, path: `/dev/${DEVNAME}`, major: MAJOR, minor: MINOR, diskSequence: DISKSEQ };
  if (PARTN === undefined) return device;
  const names = { ...(PARTUUID && { partuuid: PARTUUID }), ...(PARTNAME && { label: PARTNAME }) };
  return { ...device, partition: { disk, number: PARTN, ...names } };
}

/** What a driver may not have. Some answer with an error that is as good as none. */
const readIfKnown = async (path: string): Promise<Buffer | undefined> => readFile(path).catch(() => undefined);

async function word(...paths: string[]): Promise<string | undefined> {
  for (const path of paths) {
    const text = (await readIfKnown(path))?.toString().trim();
    if (text) return text;
  }
  return undefined;
}

/** That of SCSI and SATA disks is what attach rules compare: all of the page behind its head, padded or not. */
async function serialOf(disk: string): Promise<string | undefined> {
  const page = await readIfKnown(`${disk}/device/vpd_pg80`);
  const serial = page?.toString('latin1', 4).replace(/\0.*/s, '');
  if (serial) return serial;
  return word(`${disk}/serial`, `${disk}/device/serial`);
}

/** Leaves out what is not known. */
const known = <T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;

const count = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));
const flag = (text: string | undefined): boolean | undefined => (text === undefined ? undefined : text.trim() === '1');

const variablesOf = (text: string): Record<string, string> =>
  Object.fromEntries(text.split('\n').map((line) => [line.replace(/=.*/s, ''), line.replace(/^[^=]*=?/, '')]));

/**
 * Looks at a device.
 * @param name the kernel's name of it
 * @returns undefined when it is gone, or has no node
 */
export async function look(name: string): Promise<Seen | undefined> {
  const folder = `/sys/class/block/${name}`;
  const text = await readIfThere(`${folder}/uevent`);
  const variables = identity.safeParse(variablesOf(text ?? ''));
  // A path of NVMe multipath is hidden: it is a disk without a device number.
  if (!variables.success) return undefined;

  const file = async (path: string): Promise<string | undefined> => readIfThere(`${folder}/${path}`);
  const parent = (await file('../uevent')) ?? '';
  const device = deviceOf(name, (variablesOf(parent).DEVNAME ?? '').replaceAll('/', '!'), variables.data);
  // Behind a partition's link is its folder inside that of its disk.
  const disk = device.partition ? `${folder}/..` : folder;
  if (device.partition) Object.assign(device.partition, known({ start: count(await file('start')) }));
  Object.assign(
    device,
    known({
      sectors: count(await file('size')),
      readOnly: flag(await file('ro')),
      removable: flag(await readIfThere(`${disk}/removable`)),
      serial: await serialOf(disk),
      wwid: await word(`${disk}/wwid`, `${disk}/device/wwid`),
    }),
  );
  const filters = (await filtersOf(folder)).map((filter) => filter.name);
  // It may have gone meanwhile, and another have got its name.
  return (await file('uevent')) === text ? { device, filters } : look(name);
}

/** The names of all devices. */
export const names = async (): Promise<string[]> => readdir('/sys/class/block');
