// SPDX-License-Identifier: MIT

/** The partition that a device is. */
export interface PartitionInfo {
  /** The kernel's name of its disk. */
  disk: string;
  /** Its number in the partition table. */
  number: number;
  /** Its first sector on the disk; absent if the partition was gone before one could look. */
  start?: number;
  /** Its UUID in the partition table, as in attach rules, where the kernel tells it: 6.1 and 6.12 do not. */
  partuuid?: string;
  /** Its name in the partition table. */
  label?: string;
}

/** A disk or partition. What the kernel does not know of it is absent, as is most if it was gone before one could look. */
export interface DeviceInfo {
  /** The kernel's name, such as `sda1`. */
  name: string;
  path: string;
  major: number;
  minor: number;
  /** The kernel's number of the disk, which tells it from one that later has the same name. Another medium has another. */
  diskSequence: number;
  /** What partition it is; a disk is none. */
  partition?: PartitionInfo;
  sectors?: number;
  readOnly?: boolean;
  removable?: boolean;
  /** The disk's serial number, which its partitions share. */
  serial?: string;
  /** The disk's world-wide name, which its partitions share. */
  wwid?: string;
}

/** A mounted file system, or a part of one. */
export interface MountInfo {
  /** Where. */
  path: string;
  /** The type of the file system, such as `ext4`. */
  type: string;
  /** What of it is mounted: `/`, or a folder. */
  root: string;
  /** Whether nobody can write to it there. */
  readOnly: boolean;
}

/** Of an event that the kernel told; one that was found out by looking has no number. */
interface Told {
  device: DeviceInfo;
  /** The kernel's number of the message. */
  sequence?: number;
}

/** A device is there. */
export interface AddEvent extends Told {
  event: 'add';
  /** It was there when watching began. */
  present?: true;
}

/** A device is another in some way, or somebody said so. */
export interface ChangeEvent extends Told {
  event: 'change';
  /** What the kernel says it is about, if it says so; `eject`: somebody pressed the drive's button. */
  about?: 'size' | 'readOnly' | 'medium' | 'eject';
  /** Of what differs, what it was. */
  was?: Partial<DeviceInfo>;
}

/** A device is gone, and with it its filters, or its driver says that it works again or no longer does. */
export interface DeviceStateEvent extends Told {
  event: 'remove' | 'online' | 'offline';
}

/** A file system is mounted, or no longer. */
export interface MountEvent {
  event: 'mount' | 'umount';
  device: DeviceInfo;
  mount: MountInfo;
  /** It was mounted when watching began. */
  present?: true;
  /** It was mounted there before, and can now be written to, or no longer. */
  remount?: true;
}

/** A filter is attached, or no longer. */
export interface FilterEvent extends Told {
  event: 'attach' | 'detach';
  /** The filter's name. */
  filter: string;
  /** It was attached when watching began. */
  present?: true;
}

/**
 * The kernel had more to tell than there was room for, because it was not read in time. What is different now follows as
 * events without `sequence`; what happened and was undone, and changes that cannot be seen, are lost.
 */
export interface OverrunEvent {
  event: 'overrun';
}

/** What {@link watchDevices} tells, by `event`. */
export type DeviceEvent =
  | AddEvent
  | ChangeEvent
  | DeviceStateEvent
  | MountEvent
  | FilterEvent
  | OverrunEvent;
