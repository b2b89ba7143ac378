// SPDX-License-Identifier: MIT
import { z } from 'zod';

import type { Connection } from '../connection.js';
import { check } from '../options.js';

const command = z.int().nonnegative().max(0xffff_ffff);
const bytes = z.instanceof(Uint8Array);

/** A filter that is attached to a device. Lives as long as the {@link BlockDevice} that gave it is open. */
export class Filter {
  /** What {@link BlockDevice.attach} takes for this filter. */
  static options(): z.ZodType {
    return z.strictObject({});
  }

  /**
   * Those of them that an attach rule may have. None, unless the filter's kernel part takes some.
   * @internal
   */
  static ruleOptions(): z.ZodType {
    return z.strictObject({});
  }

  /**
   * What {@link ruleOptions} has checked, as words that the kernel part takes.
   * @internal
   */
  static ruleWords?(options: unknown): string[];

  /**
   * Options from such words.
   * @internal
   */
  static fromRuleWords?(words: string[]): Record<string, unknown>;

  /** @internal */
  protected readonly connection: Connection;

  /** @internal */
  constructor(
    connection: Connection,
    /** The name it is registered with. */
    readonly name: string,
  ) {
    this.connection = connection;
  }

  /**
   * Gives the filter the options that it was attached with.
   * @internal
   */
  configure?(options: unknown): Promise<void>;

  /**
   * Gives the filter these options, whichever it was attached with earlier.
   * @internal
   */
  async reconfigure(options: unknown): Promise<void> {
    await this.configure?.(options);
  }

  /**
   * Whether the options are in force although {@link configure} has failed with this.
   * @internal
   */
  inForce?(error: unknown): boolean;

  /**
   * Sends a command of the filter (`BLKFILTER_CTL`).
   * @param number the command, as the filter's UAPI header defines it
   * @param data the command's argument; it is copied
   * @returns what the filter left of the argument's bytes
   * @throws {BlkfilterError} `ENOTTY` the filter takes no such command; `EINVAL` or what else the filter answers;
   *   `ENOENT` it is not attached; `EPERM`
   */
  async ctl(number: number, data: Uint8Array = new Uint8Array()): Promise<Buffer> {
    const checked = { number: check(command, number, 'command'), data: check(bytes, data, 'data') };
    return this.connection.call(this.name, (handle) => handle.ctl(this.name, checked.number, checked.data));
  }

  /**
   * Takes the filter off the device. When this is done the filter sees no more I/O, and what it knew is gone.
   * @throws {BlkfilterError} `ENOENT` or `EINVAL` it is not attached; `EPERM`; `ENODEV`
   */
  async detach(): Promise<void> {
    await this.connection.call(this.name, (handle) => handle.detach(this.name));
  }
}
