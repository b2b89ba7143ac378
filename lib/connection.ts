// SPDX-License-Identifier: MIT
import { BlkfilterError, explain, explainFailure } from './errors.js';
import type { NativeDevice } from './native.js';
import { nameOfNumber } from './stack.js';
import { coreLoaded } from './sysfs.js';

/** An open device as its {@link BlockDevice} and the handles of its filters share it. */
export class Connection {
  constructor(
    readonly path: string,
    readonly handle: NativeDevice,
  ) {}

  /** Makes a call of the addon; a failure says what it means for this device and filter. */
  async call<T>(filter: string, make: (handle: NativeDevice) => Promise<T>): Promise<T> {
    try {
      return await make(this.handle);
    } catch (error) {
      throw explainFailure(error, { path: this.path, filter }, coreLoaded());
    }
  }

  /**
   * The kernel's name of the device.
   * @throws {BlkfilterError} `ENODEV` it is gone
   */
  async kernelName(): Promise<string> {
    const { major, minor } = this.handle;
    const name = await nameOfNumber(`${major}:${minor}`);
    if (name !== undefined) return name;
    const context = { path: this.path, coreLoaded: true };
    throw new BlkfilterError({ code: 'ENODEV', ...explain('open', 'ENODEV', context), path: this.path });
  }
}
