// SPDX-License-Identifier: MIT
import { z } from 'zod';

import { BlockDevice } from './device.js';
import { checkpointOptions, type Checkpoint, type CheckpointOptions } from './filters/cbt.js';
import type { MissingMember } from './members.js';
import { atOneMoment, type Frozen } from './moment.js';
import { check } from './options.js';

/** The start of an epoch of one of several devices. */
export interface DeviceCheckpoint extends Checkpoint {
  /** The path that the device was opened with. */
  device: string;
  /** Other devices that have a part of what lies on it, such as of its file system, and are not among those. */
  missingMembers: MissingMember[];
}

/** The start of an epoch of each of several devices. */
export interface JointCheckpoint extends Frozen {
  checkpoints: DeviceCheckpoint[];
}

const devicesSchema = z.array(z.instanceof(BlockDevice)).min(1);

/**
 * Ends the current epoch of several devices and starts the next: with `freeze` while the file systems on all of them are
 * frozen, so that no file is written between the first and the last. Without, the epochs begin one after the other, and what
 * is written meanwhile may be in the old epoch of one and in the new one of another; so it is with what writes to a device
 * past file systems.
 * @param devices that cbt tracks
 * @throws {BlkfilterError} as `ChangeTracker.checkpoint`. Some epochs may have begun then
 */
export async function checkpoint(devices: BlockDevice[], options: CheckpointOptions = {}): Promise<JointCheckpoint> {
  const { freeze = false, name: title } = check(checkpointOptions, options, 'checkpoint');
  const each = title === undefined ? {} : { name: title };
  const tracked = await Promise.all(
    check(devicesSchema, devices, 'devices').map(async (device) => ({
      device: device.path,
      name: await device.kernelName(),
      tracker: await device.filter('cbt'),
    })),
  );
  const { result, missing, ...frozen } = await atOneMoment(tracked.map(({ name }) => name), { freeze }, async () => {
    const begun = [];
    for (const { device, name, tracker } of tracked) begun.push({ device, name, ...(await tracker.checkpoint(each)) });
    return begun;
  });
  const checkpoints = result.map(({ name, ...begun }) => ({ ...begun, missingMembers: missing.get(name) ?? [] }));
  return { checkpoints, ...frozen };
}
