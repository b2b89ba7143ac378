// SPDX-License-Identifier: MIT
// What the kernel says in /sys. Anyone may read it, without opening a device.
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';

/** A filter that is attached to a device. */
export interface AttachedFilter {
  name: string;
  /** Its place in the device's stack: I/O meets the highest first. Null if its module went away meanwhile. */
  altitude: number | null;
}

/** A device that has filters. */
export interface FilteredDevice {
  path: string;
  /** Its size in sectors. */
  sectors: number;
  /** Highest altitude first. */
  filters: AttachedFilter[];
  /**
   * Requests that may have changed data and that no filter could see, because they bypass the block layer's queue of bios
   * (SG_IO, NVMe passthrough), since the first of these filters was attached.
   */
  bypassed: number;
}

/** Whether blkfilter.ko is loaded. */
export const coreLoaded = (): boolean => existsSync('/sys/module/blkfilter');

/** A file's text; undefined when there is no such file, or the device behind it just went. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENODEV', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** The registered filters by name, with their altitudes. */
export async function altitudes(): Promise<Map<string, number>> {
  const text = (await readIfThere('/sys/module/blkfilter/parameters/filters')) ?? '';
  return new Map(
    lines(text).flatMap((line) => {
      const [, name, altitude] = /^(.*) (-?\d+)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, Number(altitude)] as const];
    }),
  );
}

/**
 * The filters of a device, highest altitude first.
 * @param folder the device's folder in /sys
 */
export async function filtersOf(folder: string): Promise<AttachedFilter[]> {
  // No file: the core is not loaded.
  const names = lines((await readIfThere(`${folder}/filter`)) ?? '');
  const known = names.length ? await altitudes() : new Map<string, number>();
  return names.map((name) => ({ name, altitude: known.get(name) ?? null }));
}

/**
 * Requests that none of a device's filters could see, see {@link FilteredDevice.bypassed}.
 * @param folder the device's folder in /sys
 */
export const bypassedOf = async (folder: string): Promise<number> =>
  Number((await readIfThere(`${folder}/filter_bypassed`)) ?? 0);

/**
 * A device's size in sectors; 0 when it is gone.
 * @param folder the device's folder in /sys
 */
export const sectorsOf = async (folder: string): Promise<number> => Number((await readIfThere(`${folder}/size`)) ?? 0);

/** What the device's disk says in a file, whether the device is that disk or a partition of it. */
const readOfDisk = async (folder: string, file: string): Promise<string | undefined> =>
  (await readIfThere(`${folder}/${file}`)) ?? (await readIfThere(`${folder}/../${file}`));

/**
 * Whether a device can be mapped into memory (DAX), past all filters.
 * @param folder the device's folder in /sys
 */
export const isDax = async (folder: string): Promise<boolean> =>
  (await readOfDisk(folder, 'queue/dax'))?.trim() === '1';

/**
 * What tells a device's disk from one that later has the same name and number, until the machine restarts.
 * @param folder the device's folder in /sys
 */
export const diskSequenceOf = async (folder: string): Promise<number> =>
  Number((await readOfDisk(folder, 'diskseq')) ?? 0);

/** All devices that have at least one filter, by name. */
export async function filteredDevices(): Promise<FilteredDevice[]> {
  const all = await readdir('/sys/class/block');
  const devices = await Promise.all(
    all.sort().map(async (name) => {
      const folder = `/sys/class/block/${name}`;
      const filters = await filtersOf(folder);
      const sectors = await sectorsOf(folder);
      // In /sys a slash of the name is an exclamation mark.
      return { path: `/dev/${name.replaceAll('!', '/')}`, sectors, filters, bypassed: await bypassedOf(folder) };
    }),
  );
  return devices.filter(({ filters }) => filters.length > 0);
}
