// SPDX-License-Identifier: MIT
import bindings from 'bindings';

import { BlkfilterError } from './errors.js';
import { packageRoot } from './package.js';

/** An open device. Calls run one after the other, off the main thread. */
export interface NativeDevice {
  readonly major: number;
  readonly minor: number;
  sectors(): Promise<number>;
  attach(filter: string): Promise<void>;
  detach(filter: string): Promise<void>;
  ctl(filter: string, command: number, data: Uint8Array): Promise<Buffer>;
  /** Past the page cache. */
  read(sector: number, count: number): Promise<Buffer>;
  /** Writes out what the page cache holds of it. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface NativeChanges {
  generation: string;
  epoch: number;
  /** Where to go on; `end` when done. */
  cursor: number;
  end: number;
  /** Sector and count in turns. */
  extents: Float64Array;
}

/** The commands of the cbt filter. A generation of null is any. */
interface NativeCbt {
  readonly blockSizeDefault: number;
  readonly blockSizeMin: number;
  readonly blockSizeMax: number;
  info(device: NativeDevice): Promise<object>;
  configure(device: NativeDevice, blockSize: number): Promise<void>;
  checkpoint(device: NativeDevice): Promise<object>;
  changes(
    device: NativeDevice,
    generation: string | null,
    since: number,
    cursor: number,
    end: number,
    capacity: number,
  ): Promise<NativeChanges>;
  bitmap(
    device: NativeDevice,
    generation: string | null,
    since: number,
    sector: number,
    count: number,
    length: number,
  ): Promise<{ generation: string; epoch: number; bits: Buffer }>;
  mark(device: NativeDevice, sector: number, count: number): Promise<void>;
  history(device: NativeDevice): Promise<object>;
  name(device: NativeDevice, generation: string, epoch: number, name: string): Promise<void>;
  forget(device: NativeDevice, name: string): Promise<void>;
}

/** A rule as the kernel takes it. */
export interface NativeRule {
  sector: number;
  count: number;
  cgroup: number;
  operations: number;
  pid: number;
  action: number;
  argument: number;
  chance: number;
}

/** What becomes of a request, as the kernel takes it. */
export type NativeAction = Pick<NativeRule, 'action' | 'argument'>;

/** The commands of the guard filter. */
interface NativeGuard {
  readonly rulesMax: number;
  /** In milliseconds. */
  readonly delayMax: number;
  /** The chance of a rule that always applies. */
  readonly always: number;
  readonly allOperations: number;
  readonly operations: Record<string, number>;
  readonly actions: Record<string, number>;
  /** The errnos that a request can fail with. */
  readonly errors: Record<string, number>;
  setRules(device: NativeDevice, rules: NativeRule[], rest: NativeAction): Promise<void>;
  getRules(device: NativeDevice): Promise<object>;
}

/** What one read of a trace gave: a column for each field of its events. */
export interface NativeBatch {
  length: number;
  time: BigUint64Array;
  latency: Float64Array;
  sector: Float64Array;
  count: Float64Array;
  cgroup: Float64Array;
  matches: Float64Array;
  /** Places in the list of operations. */
  operation: Uint32Array;
  /** Bit N stands for flag N of the list. */
  flags: Uint32Array;
  /** An errno; 0 when it was done. */
  status: Uint32Array;
  cpu: Uint32Array;
  pid: Uint32Array;
  tid: Uint32Array;
  /** Places in `comms`. */
  comm: Uint32Array;
  comms: string[];
  /** Places in `devices`. */
  submittedTo: Uint32Array;
  device: Uint32Array;
  /** `MAJOR:MINOR`. */
  devices: string[];
  /** The segments of event I are the ones from element I to element I + 1. */
  segmentFirsts: Uint32Array;
  /** In bytes of the device. */
  segmentPositions: Float64Array;
  segmentOffsets: Uint32Array;
  segmentLengths: Uint32Array;
  drops: { cpu: number; count: number }[];
  /** Why the stream has ended; null when it has not. */
  ended: 'detached' | 'removed' | null;
}

/** An open stream of the trace filter. */
export interface NativeStream {
  readonly fd: number;
  /** Null when there is nothing yet. */
  read(): NativeBatch | null;
  close(): void;
}

/** The commands of the trace filter. */
interface NativeTrace {
  readonly bufferDefault: number;
  readonly bufferMin: number;
  readonly bufferMax: number;
  readonly patternMax: number;
  readonly operations: string[];
  readonly flags: string[];
  /** Zero is any, and an empty pattern is none. */
  configure(
    device: NativeDevice,
    options: {
      buffer: number;
      sector: number;
      count: number;
      cgroup: number;
      operations: number;
      task: number;
      segments: boolean;
      pattern: Uint8Array;
    },
  ): Promise<void>;
  open(device: NativeDevice): Promise<NativeStream>;
}

/** Waits for a file descriptor, by a duplicate: that one may be closed at any time. */
export interface NativePoll {
  /** True when it is ready, false when it was closed meanwhile. Keeps the process running until then. */
  wait(): Promise<boolean>;
  close(): void;
}

/** The kernel's uevents. Calls are made at once and never wait. */
interface NativeUevents {
  /**
   * A socket that listens to them.
   * @param bytes how many bytes of messages it holds until they are received
   * @returns its file descriptor
   */
  open(bytes: number): number;
  /** What came since the last call, or a part of it, and only what is about block devices. */
  receive(fd: number): {
    /** The variables of each message. */
    messages: object[];
    /** There was no room for some. */
    lost: boolean;
    /** Nothing is left. What comes later was sent after that. */
    drained: boolean;
  };
  /** The variables of one message; null if it is about no block device. */
  decode(message: Uint8Array): object | null;
}

export interface Addon {
  readonly filterNameLength: number;
  open(path: string): Promise<NativeDevice>;
  /** Makes a hole in a file, or zeroes on a device, of so many bytes. */
  punch(fd: number, offset: number, length: number): Promise<void>;
  /** Whether nobody else has locked the file. The lock goes when it is closed, or the process ends. */
  lock(fd: number): boolean;
  /** Drops what the page cache holds of a file and is on the disk, so that reading asks the disk. */
  forget(fd: number): Promise<void>;
  /** `exceptional` is what poll(2) calls POLLPRI. */
  readonly Poll: new (fd: number, what: 'readable' | 'exceptional') => NativePoll;
  readonly cbt: NativeCbt;
  readonly guard: NativeGuard;
  readonly uevents: NativeUevents;
  readonly trace: NativeTrace;
}

// What was built here comes before what the package brought along. That is for glibc; where another C library runs, it
// is found and does not load.
const places = [
  ['module_root', 'build', 'Release', 'bindings'],
  ['module_root', 'build', 'Debug', 'bindings'],
  ['module_root', 'prebuilds', `${process.platform}-${process.arch}-glibc`, 'bindings'],
];

function load(): Addon {
  try {
    return bindings({ bindings: 'blkfilter', module_root: packageRoot, try: places }) as Addon;
  } catch (cause) {
    // The list of places is in the cause; a library that was found and does not load says why in one line.
    const absent = cause instanceof Error && 'tries' in cause;
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ADDON',
      reason: absent ? 'there is no native addon for this machine' : `the native addon does not load: ${String(cause)}`,
      hint: 'build it with `blkfilter build-addon` (`npx blkfilter build-addon` where a project brings the package)',
      cause,
    });
  }
}

let addon: Addon | undefined;

/**
 * The addon, loaded when it is first wanted: what can be done without it still works.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ADDON`, with the command that builds it
 */
export function native(): Addon {
  return (addon ??= load());
}
