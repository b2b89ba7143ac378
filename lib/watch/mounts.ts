// SPDX-License-Identifier: MIT
// What is mounted of the known devices, and what is different in another reading of the mount table.
import type { MountEntry } from '../mounts.js';
import type { DeviceInfo, MountEvent, MountInfo } from './events.js';

interface Mounted {
  device: DeviceInfo;
  mount: MountInfo;
}

/** Two mounts of which all of it is equal are the same: numbers are used again. */
const keyOf = ({ id, number, root, path, type, source }: MountEntry): string =>
  JSON.stringify([id, number, root, path, type, source]);

const infoOf = ({ path, type, root, options, fsOptions }: MountEntry): MountInfo => ({
  path,
  type,
  root,
  readOnly: options.includes('ro') || fsOptions.includes('ro'),
});

/** The mounts that are known. */
export class Mounts {
  readonly #nameOf: (entry: MountEntry) => Promise<string | undefined>;
  readonly #device: (name: string) => DeviceInfo | undefined;
  /** What is on no device is undefined. */
  readonly #known = new Map<string, Mounted | undefined>();

  /**
   * @param nameOf finds the name of the device that a file system is on
   * @param device finds what is known of a device
   */
  constructor(
    nameOf: (entry: MountEntry) => Promise<string | undefined>,
    device: (name: string) => DeviceInfo | undefined,
  ) {
    this.#nameOf = nameOf;
    this.#device = device;
  }

  /** Forgets what is not in the table, the last mounted first, and tells of it. */
  *unmounted(table: MountEntry[]): Generator<MountEvent, void> {
    const there = new Set(table.map(keyOf));
    for (const [key, mounted] of [...this.#known].reverse()) {
      if (there.has(key)) continue;
      this.#known.delete(key);
      if (mounted) yield { event: 'umount', ...mounted };
    }
  }

  /**
   * Remembers what is new in the table, and tells of it.
   * @param origin what the events say of themselves
   */
  async *mounted(table: MountEntry[], origin: Pick<MountEvent, 'present'> = {}): AsyncGenerator<MountEvent, void> {
    for (const entry of table) {
      const key = keyOf(entry);
      const known = this.#known.get(key);
      const mount = infoOf(entry);
      if (known && known.mount.readOnly !== mount.readOnly) {
        known.mount = mount;
        yield { event: 'mount', ...known, remount: true };
      }
      if (this.#known.has(key)) continue;
      const name = await this.#nameOf(entry);
      const device = name === undefined ? undefined : this.#device(name);
      // The message that adds its device is still to come, and with it another reading.
      if (name !== undefined && !device) continue;
      this.#known.set(key, device && { device, mount });
      if (device) yield { event: 'mount', device, mount, ...origin };
    }
  }
}
