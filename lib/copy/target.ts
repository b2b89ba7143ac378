// SPDX-License-Identifier: MIT
import { constants, type BigIntStats } from 'node:fs';
import { open, readFile, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

import { BlkfilterError, errnoName, explainOnPath } from '../errors.js';
import { readPart, refuseDeviceName } from '../files.js';
import { native } from '../native.js';
import { carries, nameOfNumber, numberOf, overlapping } from '../stack.js';
import { diskSequenceOf, sectorsOf } from '../sysfs.js';
import { SECTOR_SIZE, formatSize } from '../units.js';

/** What is to be written to. */
export interface TargetOptions {
  /** Bytes that it has to have: a file is made so, a device may be larger. */
  size: number;
  /** Make the file if there is none. */
  create: boolean;
  /** False: a file keeps the size that it has until {@link Target.resize}. */
  resize?: boolean;
  /** The kernel's names of the devices that data come from: nothing of them is written to. */
  sources?: string[];
}

/** What tells a target from another one, and from what somebody else made of it. */
export interface TargetIdentity {
  /** A file's device and inode; or a device's number and disk sequence number, with the start of the machine they are of. */
  id: string;
  size: number;
  /** Of a file: when it was last written to, in nanoseconds. Nothing tells that of a device. */
  modified?: string | undefined;
}

/** Numbers of devices are given anew, and counted from the beginning, at each start of the machine: this one's name. */
const bootId = async (): Promise<string> => readFile('/proc/sys/kernel/random/boot_id', 'utf8');

async function identityOf(file: FileHandle): Promise<TargetIdentity> {
  const status = await file.stat({ bigint: true });
  if (status.isFile()) {
    const id = `file ${status.dev}:${status.ino}`;
    return { id, size: Number(status.size), modified: String(status.mtimeNs) };
  }
  const number = numberOf(Number(status.rdev));
  const folder = `/sys/dev/block/${number}`;
  const id = `device ${number} ${await diskSequenceOf(folder)} ${(await bootId()).trim()}`;
  return { id, size: (await sectorsOf(folder)) * SECTOR_SIZE };
}

const zeros = Buffer.alloc(1 << 20);

const refuse = (path: string, code: string, reason: string, hint: string): BlkfilterError =>
  new BlkfilterError({ code, reason, hint, path });

/** Says of an error what it means for what is read or written here. */
export const explain = (error: unknown, path: string): unknown =>
  explainOnPath(error, path, {
    EBUSY: { reason: 'the device is mounted, or part of something else (LVM, RAID, swap)', hint: 'unmount it: `lsblk` shows what uses it' },
    ENOENT: { reason: 'no such file or directory', hint: 'make the folder first' },
    EACCES: { reason: 'permission denied', hint: 'run it as root' },
    EEXIST: { reason: 'a link that leads nowhere', hint: 'name what it should lead to' },
    EISDIR: { reason: 'a folder', hint: 'name a file or a block device' },
    EROFS: { reason: 'read-only', hint: 'write elsewhere, or remount it' },
    ENOSPC: { reason: 'no space left', hint: 'make room, and run it again' },
    EFBIG: { reason: 'larger than its file system lets a file be', hint: 'write to another file system' },
    ENOLCK: { reason: 'it cannot be locked', hint: 'write to another file system' },
    EDQUOT: { reason: 'the quota is used up', hint: 'make room, and run it again' },
  });

/** A file or device that gets a copy. Nobody else writes to it by this class meanwhile. */
export class Target {
  /** Bytes written as data so far. */
  copied = 0;
  /** Bytes made zero so far. */
  zeroed = 0;
  readonly #file: FileHandle;
  #punches = true;

  private constructor(
    readonly path: string,
    /** The number of a device, as in `8:1`; undefined when it is a file. */
    readonly device: string | undefined,
    /** Bytes. */
    readonly size: number,
    file: FileHandle,
    /** What it was when it was opened; of a file that was made, nothing. */
    readonly found: TargetIdentity | undefined,
  ) {
    this.#file = file;
  }

  /**
   * Opens a target to write to it, if that can do no harm. A file gets the size wanted.
   * @throws {BlkfilterError} `EBUSY` a device is in use, or another run writes to the target; `ENOSPC` a device is too
   *   small; `EINVAL` it is, or lies on, the source; `ENOENT` no such folder or device; `EEXIST` a link that leads
   *   nowhere; `EACCES`
   */
  static async open(path: string, { size, create, resize = true, sources = [] }: TargetOptions): Promise<Target> {
    try {
      const status = await stat(path, { bigint: true }).catch((error: unknown) => {
        if (create && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      });
      if (status?.isBlockDevice()) return await Target.#openDevice(path, status, size, sources);
      if (status && !status.isFile()) throw refuse(path, 'EINVAL', 'neither a file nor a block device', 'name one of these');
      if (!status) await refuseDeviceName(path);
      const { dev } = status ?? (await stat(dirname(path), { bigint: true }));
      for (const source of sources) {
        if (!(await carries(source, Number(dev)))) continue;
        const reason = `it lies on the source itself (${source}): each copy would change what is to be copied`;
        throw refuse(path, 'EINVAL', reason, 'write to another disk');
      }
      return await Target.#openFile(path, size, resize, status);
    } catch (error) {
      throw explain(error, path);
    }
  }

  static async #openDevice(path: string, { rdev }: BigIntStats, size: number, sources: string[]): Promise<Target> {
    const number = numberOf(Number(rdev));
    const name = await nameOfNumber(number);
    if (name === undefined) throw refuse(path, 'ENODEV', 'the device is gone', '`lsblk -p` lists the disks that are there');
    for (const source of sources) {
      if (!(await overlapping(source, name))) continue;
      throw refuse(path, 'EINVAL', `it is the source itself, a part of it, or built on it (${source})`, 'copy to another disk');
    }
    const bytes = (await sectorsOf(`/sys/dev/block/${number}`)) * SECTOR_SIZE;
    if (bytes < size) {
      const reason = `the device has ${formatSize(bytes)}, and ${formatSize(size)} are needed`;
      throw refuse(path, 'ENOSPC', reason, 'copy to a device that is as large, or to a file');
    }
    // Exclusive: the kernel refuses what is mounted or otherwise held, and keeps it from being so meanwhile.
    const file = await open(path, constants.O_RDWR | constants.O_EXCL);
    try {
      const opened = await file.stat({ bigint: true });
      return new Target(path, numberOf(Number(opened.rdev)), bytes, file, await identityOf(file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  static async #openFile(path: string, size: number, resize: boolean, status?: BigIntStats): Promise<Target> {
    // Exclusive: it is not made where a link leads to, which may be the name of a disk that is not there.
    const make = constants.O_CREAT | constants.O_EXCL;
    const file = await open(path, constants.O_RDWR | (status ? 0 : make), 0o600);
    try {
      if (!native().lock(file.fd)) {
        throw refuse(path, 'EBUSY', 'another run writes to it', 'wait for its end');
      }
      const found = status && (await identityOf(file));
      const target = new Target(path, undefined, size, file, found);
      if (resize) await target.resize();
      return target;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Gives a file the size wanted; a device keeps its own. */
  async resize(): Promise<void> {
    if (this.device !== undefined || this.found?.size === this.size) return;
    try {
      await this.#file.truncate(this.size);
    } catch (error) {
      throw explain(error, this.path);
    }
  }

  /** What it is now, after what was written. */
  async identity(): Promise<TargetIdentity> {
    return identityOf(this.#file);
  }

  /**
   * Writes all of `data`.
   * @param offset in bytes
   */
  async write(offset: number, data: Uint8Array): Promise<void> {
    await this.#writeAll(offset, data);
    this.copied += data.length;
  }

  async #writeAll(offset: number, data: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < data.length; ) {
        const { bytesWritten } = await this.#file.write(data, done, data.length - done, offset + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw explain(error, this.path);
    }
  }

  /**
   * Makes bytes zero, without taking room for them where that is possible.
   * @param offset in bytes, as is `length`
   */
  async zero(offset: number, length: number): Promise<void> {
    if (!(await this.#punch(offset, length))) {
      for (let done = 0; done < length; done += zeros.length) {
        await this.#writeAll(offset + done, zeros.subarray(0, Math.min(zeros.length, length - done)));
      }
    }
    this.zeroed += length;
  }

  /** Whether it could. */
  async #punch(offset: number, length: number): Promise<boolean> {
    if (this.#punches) {
      try {
        await native().punch(this.#file.fd, offset, length);
      } catch (error) {
        const code = errnoName((error as NodeJS.ErrnoException).errno ?? 0);
        if (!['ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS'].includes(code)) {
          throw explain(error, this.path);
        }
        // Neither holes nor a command for zeroes: then as data.
        this.#punches = false;
      }
    }
    return this.#punches;
  }

  /**
   * Reads, for comparing.
   * @param offset in bytes, as is `length`
   * @returns less where the target has got smaller
   */
  async read(offset: number, length: number): Promise<Buffer> {
    return readPart(this.#file, offset, length);
  }

  /** Drops what memory holds of it and is safe, so that reading tells what the disk has kept. */
  async forget(): Promise<void> {
    try {
      await native().forget(this.#file.fd);
    } catch (error) {
      throw explain(error, this.path);
    }
  }

  /** Returns when all that was written is safe. */
  async flush(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (error) {
      throw explain(error, this.path);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
