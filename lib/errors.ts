// SPDX-License-Identifier: MIT
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/** What a {@link BlkfilterError} is made of. */
export interface ErrorParts {
  code: string;
  /** What went wrong, without the code. */
  reason: string;
  /** What to do about it. */
  hint?: string | undefined;
  /** Negative, as in Node's own errors. */
  errno?: number | undefined;
  syscall?: string | undefined;
  /** The ioctl's name. */
  request?: string | undefined;
  path?: string | undefined;
  cause?: unknown;
}

/**
 * Every failure of this package. `code`, `errno`, `syscall`, `path` and the form of the message are those of Node's own
 * file system errors; `hint` says what to do.
 *
 * Besides the kernel's codes there are
 * - `EGENERATION`: tracking had a gap since the mark that was given;
 * - `EMODULE`: the kernel module is not loaded, not built, or cannot be loaded or unloaded;
 * - `EVERIFY`: a copy is not what its source is;
 * - `EDIFF`: a diff is damaged or cut off, or no diff;
 * - `EMARK`: a target is not where a diff begins;
 * - `ERR_BLKFILTER_ARGUMENT`: an option or argument is wrong; nothing was changed;
 * - `ERR_BLKFILTER_ADDON`: the native addon is not built, or not for this machine.
 */
export class BlkfilterError extends Error {
  override readonly name = 'BlkfilterError';
  readonly code: string;
  readonly #reason: string;
  declare readonly errno?: number;
  declare readonly syscall?: string;
  /** The ioctl's name. */
  declare readonly request?: string;
  declare readonly path?: string;
  declare readonly hint?: string;

  constructor({ code, reason, hint, errno, syscall, request, path, cause }: ErrorParts) {
    const call = [syscall, request, path === undefined ? undefined : `'${path}'`].filter(Boolean).join(' ');
    super(`${code}: ${reason}${call && `, ${call}`}`, cause === undefined ? undefined : { cause });
    this.code = code;
    this.#reason = reason;
    // Only what is known becomes a property, as in Node's own errors.
    const known = Object.entries({ errno, syscall, request, path, hint }).filter(([, value]) => value !== undefined);
    Object.assign(this, Object.fromEntries(known));
  }

  /** What went wrong, without the code and the call. */
  get reason(): string {
    return this.#reason;
  }

  /** The same failure of the same call, explained better. */
  reworded(words: Pick<ErrorParts, 'reason' | 'hint'>): BlkfilterError {
    const { code, errno, syscall, request, path } = this;
    return new BlkfilterError({ code, errno, syscall, request, path, ...words }).withStackOf(this);
  }

  /** Takes over where another error was made. */
  withStackOf({ stack = '' }: Error): this {
    const frames = stack.indexOf('\n    at ');
    if (frames >= 0) this.stack = `${this.name}: ${this.message}${stack.slice(frames)}`;
    return this;
  }
}

/** Where a failed call was made. */
export interface CallContext {
  path: string;
  filter?: string;
}

interface Situation extends CallContext {
  coreLoaded: boolean;
}

interface Explanation {
  code?: string;
  reason: string;
  hint?: string;
}

type Explain = (situation: Situation) => Explanation;

/** What it means that blkfilter.ko is not loaded. */
export const notLoaded = {
  code: 'EMODULE',
  reason: 'the kernel module blkfilter is not loaded',
  hint: 'load it with `blkfilter module load`',
};

const asRoot = 'run it as root (it needs CAP_SYS_ADMIN)';
const seeStatus = ({ path }: CallContext): string => `\`blkfilter status ${path}\` lists what is attached`;

/** Until 6.11 md does not know what was begun while they were off. */
const statisticsOn =
  'switch them on, `echo 1 > /sys/block/NAME/queue/iostats`; if they are on, or `dmesg` says that they were off for a while, ' +
  'stop and start the array';

/** What a code means whichever request it answers. */
const anyRequest: Record<string, Explain> = {
  EPERM: () => ({ reason: 'operation not permitted', hint: asRoot }),
  EACCES: () => ({ reason: 'permission denied', hint: asRoot }),
  EBADF: () => ({ reason: 'the device is closed', hint: 'open it again' }),
  ENODEV: () => ({ reason: 'the disk is gone or going', hint: '`lsblk -p` lists the disks that are there' }),
  ENOTTY: () => ({
    reason: 'the loaded blkfilter modules do not know this request',
    hint: 'they are of another version: `blkfilter doctor` tells which, and what to type',
  }),
  ETIMEDOUT: () => ({
    reason: 'requests stayed in flight for half a minute, or a task kept the kernel from knowing that they did not',
    hint: '`dmesg` names such a task: end it; else the disk or what lies below it hangs: try again when it answers',
  }),
  ENOTSUP: () => ({
    reason: "what is in flight cannot be known, because the device's I/O statistics are or were off, or, of an NVMe disk of several paths, do not tell",
    hint: `${statisticsOn}; for NVMe boot with \`nvme_core.multipath=N\``,
  }),
};

const anyCtl: Record<string, Explain> = {
  ENOENT: ({ filter, path }) => ({
    reason: `filter '${filter}' is not attached`,
    hint: `attach it with \`blkfilter attach ${path} ${filter}\``,
  }),
};

const anyRead: Record<string, Explain> = {
  ...anyCtl,
  EINVAL: () => ({
    reason: 'the epoch or the range is out of bounds',
    hint: 'epochs go from 1 to the current one; a bitmap starts at a multiple of the block size, inside the device',
  }),
  ESTALE: () => ({
    code: 'EGENERATION',
    reason: 'tracking had a gap: that generation is over',
    hint: 'copy everything once, and go on from the mark of a new checkpoint',
  }),
};

const requests: Record<string, Record<string, Explain>> = {
  open: {
    ENOENT: () => ({ reason: 'no such file or directory', hint: '`lsblk -p` lists the disks and partitions' }),
    ENOTBLK: () => ({
      reason: 'not a block device',
      hint: 'name the node of a disk or partition, such as /dev/sda; `lsblk -p` lists them',
    }),
    ENXIO: () => ({ reason: 'no device stands behind this node', hint: '`lsblk -p` lists the disks that are there' }),
    ENOMEDIUM: () => ({ reason: 'the drive is empty', hint: 'insert a medium' }),
  },
  BLKGETSIZE64: {},
  read: {
    EIO: () => ({ reason: 'the disk could not read there', hint: '`dmesg` tells what it answered' }),
    ENXIO: () => ({ reason: 'the device ends before that', hint: '`blkfilter status` shows how many sectors it has' }),
    EINVAL: () => ({
      reason: 'not a whole number of the disk\'s blocks',
      hint: '`lsblk -o NAME,LOG-SEC` tells their size: begin and end at a multiple of it',
    }),
  },
  BLKFILTER_ATTACH: {
    ENOENT: ({ filter }) => ({
      reason: `no filter named '${filter}' is registered`,
      hint: `load its module: \`modprobe blkfilter_${filter}\`, or \`blkfilter module load\` for the ones of this package`,
    }),
    EALREADY: (at) => ({ reason: `filter '${at.filter}' is attached already`, hint: seeStatus(at) }),
    EBUSY: (at) => ({
      reason: `another filter holds the altitude of '${at.filter}'`,
      hint: seeStatus(at),
    }),
  },
  BLKFILTER_DETACH: {
    ENOENT: () => ({ reason: 'no filter is attached', hint: '`blkfilter status` lists the devices that have filters' }),
    EINVAL: (at) => ({ reason: `filter '${at.filter}' is not attached, others are`, hint: seeStatus(at) }),
  },
  BLKFILTER_CTL: {
    ...anyCtl,
    EINVAL: ({ filter }) => ({
      reason: `filter '${filter}' refused the argument`,
      hint: 'its size and contents must be those of the command',
    }),
    ENOTTY: ({ filter }) => ({
      reason: `filter '${filter}' does not take this command`,
      hint: 'its UAPI header lists the ones it takes',
    }),
  },
  BLKFILTER_CBT_INFO: anyCtl,
  BLKFILTER_CBT_CONFIGURE: {
    ...anyCtl,
    EINVAL: () => ({
      reason: 'cbt refused the block size',
      hint: 'it is a power of two within the limits of linux/blkfilter/cbt.h',
    }),
    EBUSY: () => ({
      reason: 'cbt is configured already',
      hint: 'options are taken once, before the first checkpoint: detach, and attach with the options wanted',
    }),
  },
  BLKFILTER_CBT_CHECKPOINT: {
    ...anyCtl,
    EOVERFLOW: () => ({ reason: 'the epochs are used up', hint: 'detach cbt and attach it again' }),
  },
  BLKFILTER_CBT_CHANGES: anyRead,
  BLKFILTER_CBT_BITMAP: anyRead,
  BLKFILTER_CBT_EPOCHS: anyRead,
  BLKFILTER_CBT_NAME_EPOCH: {
    ...anyRead,
    EINVAL: () => ({
      reason: 'cbt refused the name',
      hint: 'a name has letters, digits, _ and -, and begins with a letter or _',
    }),
    ENODATA: () => ({
      reason: 'the epoch is not in the list',
      hint: 'the kernel keeps epochs with a name, and the newest of the others: `blkfilter info` lists them',
    }),
    EEXIST: () => ({ reason: 'the epoch has another name', hint: 'take a checkpoint of its own for this name' }),
    ENOSPC: () => ({
      reason: 'the device has as many named epochs as it can have',
      hint: '`blkfilter info` lists them, `blkfilter forget` drops one',
    }),
  },
  BLKFILTER_CBT_FORGET: {
    ...anyCtl,
    ENODATA: () => ({ reason: 'no epoch has that name', hint: '`blkfilter info` lists the names' }),
  },
  BLKFILTER_GUARD_SET_RULES: {
    ...anyCtl,
    EINVAL: () => ({
      reason: 'guard refused the rules',
      hint: 'package and modules may be of different versions: `blkfilter doctor` tells',
    }),
    ETIMEDOUT: () => ({
      reason: 'guard is attached and the new rules are in force, but requests from before them are still in flight',
      hint: 'a task that `dmesg` names, the disk, or what lies below it hangs; set the rules again to wait once more',
    }),
    ENOTSUP: () => ({
      reason:
        'guard is attached and the new rules are in force, but whether requests from before them are still in flight ' +
        "cannot be known, because the device's I/O statistics are or were off",
      hint: `${statisticsOn}; then set the rules again`,
    }),
  },
  BLKFILTER_GUARD_GET_RULES: anyCtl,
  BLKFILTER_CBT_MARK: {
    ...anyCtl,
    EINVAL: () => ({
      reason: 'the extent is empty or ends beyond the device',
      hint: '`blkfilter status` shows how many sectors the device has',
    }),
  },
  BLKFILTER_TRACE_CONFIGURE: {
    ...anyCtl,
    EINVAL: () => ({
      reason: 'trace refused the options',
      hint: 'linux/blkfilter/trace.h tells their limits',
    }),
  },
  BLKFILTER_TRACE_OPEN: {
    ...anyCtl,
    EBUSY: () => ({
      reason: 'somebody else is reading the trace of this device',
      hint: 'a device has one stream at a time: close the other one, or trace its disk or a partition of it',
    }),
    ENOMEM: () => ({
      reason: 'there is no memory for the buffers, of which each CPU has one',
      hint: 'attach it with a smaller buffer',
    }),
  },
};

/**
 * Says what an errno of a request means and what to do.
 * @param request the ioctl's name, or `open`
 * @param code the errno's name
 */
export function explain(request: string, code: string, situation: Situation): Explanation {
  // Without the core the request goes to the disk's driver. Each has its own way to say that it knows no such thing.
  if (!situation.coreLoaded && request.startsWith('BLKFILTER_')) {
    return notLoaded;
  }
  const known = requests[request]?.[code] ?? anyRequest[code];
  if (known) return known(situation);
  const [, text] = [...getSystemErrorMap().values()].find(([name]) => name === code) ?? [];
  return { reason: text ?? 'the kernel refused the request' };
}

// ENOTBLK has no name in libuv nor in node:os, which has some that libuv lacks (ESTALE).
const otherNames = new Map([[15, 'ENOTBLK'], [123, 'ENOMEDIUM']]);

/** The name of a (negative) errno. */
export function errnoName(errno: number): string {
  const known = getSystemErrorMap().get(errno)?.[0] ?? Object.entries(constants.errno).find(([, n]) => n === -errno)?.[0];
  return known ?? otherNames.get(-errno) ?? `errno ${-errno}`;
}

/**
 * Says of which path an error of Node is, or of the addon, which may give the number alone. Anything else is returned as it is.
 * @param known what some errors usually mean there, and what to do; the system's words are used where this has none
 */
export function explainOnPath(error: unknown, path: string, known: Record<string, { reason?: string; hint: string }>): unknown {
  const { errno, syscall } = error as NodeJS.ErrnoException;
  if (error instanceof BlkfilterError || errno === undefined) return error;
  const code = errnoName(errno);
  const [, words = 'it failed'] = getSystemErrorMap().get(errno) ?? [];
  const { reason = words, hint } = known[code] ?? {};
  return new BlkfilterError({ code, errno, syscall, path, reason, hint, cause: error });
}

/** What the addon puts on the errors that it rejects with. */
interface SystemFailure extends Error {
  errno: number;
  syscall: string;
  request?: string;
}

const isSystemFailure = (error: unknown): error is SystemFailure =>
  error instanceof Error && 'errno' in error && 'syscall' in error;

/**
 * Turns the addon's error into one that explains itself. Anything else is returned as it is.
 * @param coreLoaded whether blkfilter.ko is loaded
 */
export function explainFailure(error: unknown, context: CallContext, coreLoaded: boolean): unknown {
  if (!isSystemFailure(error)) return error;
  const { errno, syscall, request } = error;
  const name = errnoName(errno);
  const { code = name, ...rest } = explain(request ?? syscall, name, { ...context, coreLoaded });
  // The addon made its error when it was called, so its frames lead to the caller.
  return new BlkfilterError({ code, ...rest, errno, syscall, request, path: context.path }).withStackOf(error);
}
