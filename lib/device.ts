// SPDX-License-Identifier: MIT
import { z } from 'zod';

import { Connection } from './connection.js';
import { BlkfilterError, explain, explainFailure } from './errors.js';
import { ChangeTracker, type CbtOptions } from './filters/cbt.js';
import { Filter } from './filters/filter.js';
import { Guard, type GuardOptions } from './filters/guard.js';
import { Trace, type TraceOptions } from './filters/trace.js';
import { native } from './native.js';
import { check, extent, filterName } from './options.js';
import { altitudes, bypassedOf, coreLoaded, filtersOf, isDax, type AttachedFilter } from './sysfs.js';
import { SECTOR_SIZE } from './units.js';

/** The filters that have a typed handle, by name. */
export interface FilterTypes {
  cbt: { options: CbtOptions; handle: ChangeTracker };
  guard: { options: GuardOptions; handle: Guard };
  trace: { options: TraceOptions; handle: Trace };
}

/** The options of the filter of that name. A filter that this package does not know takes none. */
export type OptionsOf<Name extends string> = Name extends keyof FilterTypes
  ? FilterTypes[Name]['options']
  : Record<string, never>;

/** The handle of the filter of that name. */
export type HandleOf<Name extends string> = Name extends keyof FilterTypes ? FilterTypes[Name]['handle'] : Filter;

const types = new Map<string, typeof Filter>([
  ['cbt', ChangeTracker],
  ['guard', Guard],
  ['trace', Trace],
]);
const typeOf = (name: string): typeof Filter => types.get(name) ?? Filter;

/** The schema of a filter's options. */
export const optionsOf = (name: string): z.ZodType => typeOf(name).options();

/** Likewise, of those that an attach rule may have. */
export const ruleOptionsOf = (name: string): z.ZodType => typeOf(name).ruleOptions();

/** These as the kernel takes them in a rule, in words. */
export const ruleWordsOf = (name: string, options: unknown): string[] => typeOf(name).ruleWords?.(options) ?? [];

/** And back. */
export const fromRuleWords = (name: string, words: string[]): Record<string, unknown> =>
  typeOf(name).fromRuleWords?.(words) ?? {};

const devicePath = z.string().regex(/^[^\0]+$/, 'not a path');

/**
 * Opens a block device: a whole disk or a partition.
 * @param path its node, such as `/dev/sda`
 * @throws {BlkfilterError} `ENOENT`; `ENOTBLK` no block device; `EACCES`; `ERR_BLKFILTER_ADDON` the addon is not built
 */
export async function open(path: string): Promise<BlockDevice> {
  const checked = check(devicePath, path, 'path');
  try {
    return new BlockDevice(new Connection(checked, await native().open(checked)));
  } catch (error) {
    throw explainFailure(error, { path: checked }, coreLoaded());
  }
}

/**
 * An open block device. Its calls run one after the other, off the main thread. Sector numbers, counts and epochs are
 * numbers, always exact: what does not fit into a safe integer is an error.
 */
export class BlockDevice {
  readonly #connection: Connection;

  /** @internal Use {@link open}. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The path it was opened with. */
  get path(): string {
    return this.#connection.path;
  }

  /**
   * The device's size in sectors of 512 bytes, now: devices can grow.
   * @throws {BlkfilterError} `EBADF` the device is closed
   */
  async sectors(): Promise<number> {
    return this.#connection.call('', (handle) => handle.sectors());
  }

  /** The device's size in bytes, see {@link sectors}. */
  async size(): Promise<number> {
    return (await this.sectors()) * SECTOR_SIZE;
  }

  /**
   * Reads from the disk itself, past the page cache: what a file system above wrote is there as soon as it is on its
   * way to the disk, whatever was read here before.
   * @param sector where to begin; on a disk with larger blocks (4Kn) a multiple of theirs
   * @param count how many sectors, likewise; all of it is held in memory
   * @throws {BlkfilterError} `EIO`; `ENXIO` the device ends before; `EINVAL` no multiple of the disk's blocks
   */
  async read(sector: number, count: number): Promise<Buffer> {
    const range = check(extent, { sector, count }, 'read');
    return this.#connection.call('', (handle) => handle.read(range.sector, range.count));
  }

  /**
   * Writes out what was written to the device's node and is only in the page cache yet. What file systems hold back is
   * not among it.
   * @throws {BlkfilterError} `EIO`
   */
  async flush(): Promise<void> {
    await this.#connection.call('', (handle) => handle.flush());
  }

  /**
   * Attaches a filter, on the fly: nothing has to be unmounted or stopped. When this is done, all I/O that has not
   * completed yet is seen by the filter.
   * @param name the filter's registered name
   * @param options the filter's own
   * @returns the filter's handle: a {@link ChangeTracker} for `cbt`, a {@link Trace} for `trace`, a {@link Guard} for `guard`
   * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` an option is wrong; `ENOENT` no such filter; `EALREADY`; `EBUSY`
   *   its altitude is taken; `ENOTSUP` not all I/O to the device could be known; `EPERM`; `ENODEV`; `EMODULE`. After an
   *   error the filter is not attached by this call, with one exception: a guard whose rules are in force, while what
   *   came before them is still in flight (see {@link Guard.setRules}), stays, and the error says so
   */
  async attach<Name extends string>(name: Name, options?: OptionsOf<Name>): Promise<HandleOf<Name>> {
    const filter = this.#handle(name);
    const untyped: Filter = filter;
    const wanted = check(optionsOf(name), options ?? {}, name);
    try {
      await this.#connection.call(name, (handle) => handle.attach(name));
    } catch (error) {
      throw await this.#explainAttach(error, name);
    }
    try {
      await untyped.configure?.(wanted);
    } catch (error) {
      // Nothing half done; but a write blocker that blocks is not taken off because a write before it hangs. Should
      // detaching fail too, the filter or the disk is gone, and the first error says more.
      if (!untyped.inForce?.(error)) await untyped.detach().catch(() => undefined);
      throw error;
    }
    return filter;
  }

  /** Two errnos of ATTACH have two causes each, of which the system tells which it was. */
  async #explainAttach(error: unknown, name: string): Promise<unknown> {
    if (!(error instanceof BlkfilterError)) return error;
    if (error.code === 'ENOTSUP' && (await isDax(this.#folder))) {
      return error.reworded({
        reason: 'the device can be mapped into memory (DAX), and what is written there passes no filter',
        hint: 'filter a device above it that has no DAX, or give its namespace sector mode: `ndctl create-namespace --mode=sector`',
      });
    }
    const altitude = (await altitudes()).get(name);
    if (error.code === 'EBUSY' && !(await this.filters()).some((attached) => attached.altitude === altitude)) {
      return error.reworded({
        reason: `another module redirects submit_bio_noacct, which '${name}' needs to hold requests back`,
        hint: '`blkfilter doctor` and `dmesg` tell which: a live patch, or another product',
      });
    }
    return error;
  }

  /**
   * The handle of a filter that is attached already.
   * @param name the filter's registered name
   * @throws {BlkfilterError} `ENOENT` it is not attached
   */
  async filter<Name extends string>(name: Name): Promise<HandleOf<Name>> {
    const filter = this.#handle(name);
    if ((await this.filters()).some((attached) => attached.name === name)) return filter;
    const context = { path: this.path, filter: name, coreLoaded: coreLoaded() };
    const code = context.coreLoaded ? 'ENOENT' : 'ENOTTY';
    throw new BlkfilterError({ code, ...explain('BLKFILTER_CTL', code, context), path: this.path });
  }

  /**
   * Takes a filter off the device, see {@link Filter.detach}.
   * @param name the filter's registered name
   */
  async detach(name: string): Promise<void> {
    await this.#handle(name).detach();
  }

  /** The device's folder in /sys. */
  get #folder(): string {
    const { major, minor } = this.#connection.handle;
    return `/sys/dev/block/${major}:${minor}`;
  }

  /**
   * The kernel's name of the device, such as `sda1`.
   * @throws {BlkfilterError} `ENODEV` it is gone
   */
  async kernelName(): Promise<string> {
    return this.#connection.kernelName();
  }

  /** The filters that are attached, highest altitude first. */
  async filters(): Promise<AttachedFilter[]> {
    return filtersOf(this.#folder);
  }

  /** Requests that none of the attached filters could see, see `FilteredDevice.bypassed`. */
  async bypassed(): Promise<number> {
    return bypassedOf(this.#folder);
  }

  /**
   * Sends a command of a filter that is attached, see {@link Filter.ctl}.
   * @param name the filter's registered name
   */
  async ctl(name: string, command: number, data?: Uint8Array): Promise<Buffer> {
    return this.#handle(name).ctl(command, data);
  }

  /** Closes the device once the calls that were made are done. Filters stay attached. Closing again does nothing. */
  async close(): Promise<void> {
    await this.#connection.handle.close();
  }

  /** `await using` closes the device. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #handle<Name extends string>(name: Name): HandleOf<Name> {
    const Type = typeOf(check(filterName, name, 'filter'));
    return new Type(this.#connection, name) as HandleOf<Name>;
  }
}
