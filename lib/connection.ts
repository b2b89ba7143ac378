// SPDX-License-Identifier: MIT
import { explainFailure } from './errors.js';
import type { NativeDevice } from './native.js';
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
}
