// SPDX-License-Identifier: MIT
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

import { errnoName } from '../errors.js';
import { native, type NativeBatch, type NativePoll, type NativeStream } from '../native.js';
import { check, rangeEndsExactly, signal, size, whole } from '../options.js';
import { SECTOR_SIZE, type Extent } from '../units.js';
import { Filter } from './filter.js';

const streamOptions = z.strictObject({ signal: signal.optional() });

/** Where fewer events come at a time, they are gathered for so many ms: to wake up for each costs more than the requests do. */
const FEW = 1000;
const GATHER = 10;

/** Names of operations, as a list or as text with commas. */
const operations = z
  .union([z.array(z.string()), z.string().transform((text) => text.split(','))])
  .superRefine((names, context) => {
    const known = native().trace.operations;
    for (const name of names.filter((one) => !known.includes(one))) {
      context.addIssue({ code: 'custom', message: `'${name}' is none of ${known.join(', ')}` });
    }
  });

/** Text stands for its UTF-8 bytes. */
const pattern = z
  .union([z.instanceof(Uint8Array), z.string().transform((text) => Buffer.from(text))])
  .refine((bytes) => bytes.length > 0, 'nothing to look for')
  .refine((bytes) => bytes.length <= native().trace.patternMax, {
    error: () => `longer than ${native().trace.patternMax} bytes`,
  });

/** Options of `attach('trace')`: what is traced. What is not wanted costs little, since the kernel leaves it out. */
export interface TraceOptions {
  /** Only these, such as `['read', 'write']`, or `'read,write'`. */
  operations?: string[] | string;
  /** Only requests that touch sectors from here on; 0 unless told. */
  sector?: number;
  /** How many sectors; to the device's end unless told. */
  count?: number;
  /** Only requests of the process or thread of this id. */
  task?: number;
  /** Only requests of the control group of this id, which is the inode number of its folder. */
  cgroup?: number;
  /** Events tell of the memory segments of their data. */
  segments?: boolean;
  /** How often this occurs in the data is counted; at most 64 bytes. */
  match?: string | Uint8Array;
  /** Of each CPU's buffer: bytes or text like `1MiB`; a power of two from 4 KiB to 64 MiB; 512 KiB unless told. */
  buffer?: number | string;
}

/** How to follow a stream. */
export interface TraceStreamOptions {
  /** Ends the stream: its iteration then throws its reason. */
  signal?: AbortSignal;
}

/** Why a stream has ended: the filter was detached, or the device is gone. */
export type TraceEnd = 'detached' | 'removed';

/** A piece of memory that holds data of a request. */
export interface TraceSegment {
  /** Of the first byte in its page. */
  offset: number;
  /** Bytes; may be more than a page. */
  length: number;
  /** Where its first byte lies on the device. */
  sector: number;
  /** Sectors that it touches. */
  count: number;
}

/** One request. */
export interface TraceEvent {
  /** When it was submitted, in nanoseconds, by the clock of `process.hrtime.bigint()`. */
  time: bigint;
  /** Nanoseconds until its completion. */
  latency: number;
  /** Such as `read`, `write`, `flush`, `discard`. */
  operation: string;
  /** Such as `sync`, `fua`, `metadata`, `readahead`. */
  flags: string[];
  /** Name of the device that it was submitted to, such as `sda1`. */
  submittedTo: string;
  /** Name of the device that it was seen on, where the filter is attached. */
  device: string;
  /** The first sector, relative to that device. */
  sector: number;
  /** Sectors that it touches there. */
  count: number;
  /** The process that submitted it. Writeback is the kernel's. */
  pid: number;
  /** The thread that did, … */
  tid: number;
  /** … and its name. */
  comm: string;
  /** The control group that it is charged to; 0 when none is known. */
  cgroup: number;
  /** The CPU that it was submitted on. */
  cpu: number;
  /** Null when it was done, else an errno's name, such as `EIO`. */
  status: string | null;
  /** How often what was to be matched occurs in its data. */
  matches: number;
  /** Empty unless they are wanted. */
  segments: TraceSegment[];
}

/** Events that a CPU had no room for. */
export interface TraceDrops {
  cpu: number;
  count: number;
}

const namesOf = new Map<string, string>();

/** The kernel's name of a device, by its number; the number, when it is gone. */
function deviceName(number: string): string {
  try {
    const name = basename(readlinkSync(`/sys/dev/block/${number}`));
    namesOf.set(number, name);
    return name;
  } catch {
    return namesOf.get(number) ?? number;
  }
}

/**
 * Many events at once, in the order of their completion: column by column as they came from the kernel, or as objects
 * which are made when they are asked for.
 */
export class TraceBatch implements Iterable<TraceEvent> {
  /** The columns: element I of each is event I's. `comm`, `device` and `submittedTo` are places in `comms` and `devices`. */
  readonly columns: Readonly<NativeBatch>;
  readonly #devices: string[];

  /** @internal */
  constructor(columns: NativeBatch) {
    this.columns = columns;
    this.#devices = columns.devices.map(deviceName);
  }

  /** How many events. */
  get length(): number {
    return this.columns.length;
  }

  /** What was lost before or among these events. */
  get drops(): TraceDrops[] {
    return this.columns.drops;
  }

  /** Event `i`. */
  at(i: number): TraceEvent {
    const { columns } = this;
    if (!Number.isInteger(i) || i < 0 || i >= columns.length) throw new RangeError(`no event ${i} in this batch`);
    const { operations, flags } = native().trace;
    const of = (column: ArrayLike<number>): number => column[i] ?? 0;
    const status = of(columns.status);
    return {
      time: columns.time[i] ?? 0n,
      latency: of(columns.latency),
      operation: operations[of(columns.operation)] ?? '',
      flags: flags.filter((_, bit) => (of(columns.flags) >>> bit) & 1),
      submittedTo: this.#devices[of(columns.submittedTo)] ?? '',
      device: this.#devices[of(columns.device)] ?? '',
      sector: of(columns.sector),
      count: of(columns.count),
      pid: of(columns.pid),
      tid: of(columns.tid),
      comm: columns.comms[of(columns.comm)] ?? '',
      cgroup: of(columns.cgroup),
      cpu: of(columns.cpu),
      status: status === 0 ? null : errnoName(-status),
      matches: of(columns.matches),
      segments: this.#segments(i),
    };
  }

  #segments(i: number): TraceSegment[] {
    const { segmentFirsts, segmentPositions, segmentOffsets, segmentLengths } = this.columns;
    const segments: TraceSegment[] = [];
    for (let at = segmentFirsts[i] ?? 0; at < (segmentFirsts[i + 1] ?? 0); at++) {
      const position = segmentPositions[at] ?? 0;
      const length = segmentLengths[at] ?? 0;
      segments.push({ offset: segmentOffsets[at] ?? 0, length, ...sectorsOf(position, length) });
    }
    return segments;
  }

  *[Symbol.iterator](): Generator<TraceEvent, void> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}

/** The sectors that bytes of a device touch. */
function sectorsOf(position: number, length: number): Extent {
  const sector = Math.floor(position / SECTOR_SIZE);
  return { sector, count: Math.ceil((position + length) / SECTOR_SIZE) - sector };
}

/**
 * Requests of a device, from the moment on when it was opened, until it is closed, the filter is detached or the device
 * is gone. Iterate over it once, either over the events or over {@link batches}; that closes it at the end, whatever
 * ends it. It keeps the process running only as long as somebody waits for the next event.
 */
export class TraceStream implements AsyncIterable<TraceEvent> {
  readonly #stream: NativeStream;
  readonly #poll: NativePoll;
  #closed = false;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => {
    this.close();
  };
  #dropped = 0;
  #ended: TraceEnd | undefined;

  /** @internal */
  constructor(stream: NativeStream, signal: AbortSignal | undefined) {
    this.#stream = stream;
    this.#poll = new (native().Poll)(stream.fd, 'readable');
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** How many events were lost so far, because a buffer was full or there was no memory; each batch tells which CPU's. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Why the kernel has ended the stream, when its last event was read. */
  get ended(): TraceEnd | undefined {
    return this.#ended;
  }

  /** The events one by one. Returns why the stream has ended; undefined if it was closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TraceEvent, TraceEnd | undefined> {
    for await (const batch of this.batches()) {
      for (const event of batch) {
        this.#signal?.throwIfAborted();
        yield event;
      }
    }
    return this.#ended;
  }

  /**
   * The events as they were read from the kernel, up to some thousands at a time; for those who need the rate.
   * @throws the signal's reason
   */
  async *batches(): AsyncGenerator<TraceBatch, TraceEnd | undefined> {
    try {
      let few = true;
      // Each batch waits for a turn of the event loop, so that a busy device does not keep everything else from running.
      while (this.#ended === undefined && (await this.#poll.wait())) {
        if (few) await sleep(GATHER);
        this.#signal?.throwIfAborted();
        if (this.#closed) break;
        const columns = this.#stream.read();
        few = columns === null || columns.length < FEW;
        if (columns === null) continue;
        for (const { count } of columns.drops) this.#dropped += count;
        if (columns.length > 0 || columns.drops.length > 0) yield new TraceBatch(columns);
        this.#ended = columns.ended ?? undefined;
      }
      this.#signal?.throwIfAborted();
      return this.#ended;
    } finally {
      this.close();
    }
  }

  /** Ends it; whoever waits for an event gets none. Once more does nothing. */
  close(): void {
    this.#closed = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#poll.close();
    this.#stream.close();
  }

  /** `using` closes it. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** A stream of every request to a device, with its submission and its completion. */
export class Trace extends Filter {
  static override options() {
    const { bufferMin, bufferMax } = native().trace;
    const fits = (bytes: number) => bytes >= bufferMin && bytes <= bufferMax && Number.isInteger(Math.log2(bytes));
    const id = z.int().positive();
    return z
      .strictObject({
        operations: operations.optional(),
        sector: whole.default(0),
        count: z.int().positive().optional(),
        task: id.max(0xffff_ffff).optional(),
        cgroup: id.optional(),
        segments: z.boolean().default(false),
        match: pattern.optional(),
        buffer: size.refine(fits, `not a power of two from ${bufferMin} to ${bufferMax} bytes`).optional(),
      })
      .refine(rangeEndsExactly, 'the range ends beyond any device');
  }

  /** @internal */
  override async configure(options: z.output<ReturnType<typeof Trace.options>>): Promise<void> {
    const { trace } = native();
    const wanted = options.operations ?? [];
    await this.connection.call(this.name, (handle) =>
      trace.configure(handle, {
        buffer: options.buffer ?? trace.bufferDefault,
        sector: options.sector,
        count: options.count ?? 0,
        cgroup: options.cgroup ?? 0,
        task: options.task ?? 0,
        operations: trace.operations.reduce((mask, name, bit) => (wanted.includes(name) ? mask | (1 << bit) : mask), 0),
        segments: options.segments,
        pattern: options.match ?? new Uint8Array(),
      }),
    );
  }

  /**
   * Changes what is traced, for streams that are opened from now on.
   * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`; `ENOENT` trace is not attached; `EPERM`
   */
  async setOptions(options: TraceOptions): Promise<void> {
    await this.configure(check(Trace.options(), options, this.name));
  }

  /**
   * Opens a stream: from now on requests are traced. A device has one at a time.
   * @throws {BlkfilterError} `EBUSY` there is another one; `ENOENT` trace is not attached; `EPERM`; `ENOMEM`; and the
   *   signal's reason
   */
  async open(options: TraceStreamOptions = {}): Promise<TraceStream> {
    const { signal } = check(streamOptions, options, 'trace');
    signal?.throwIfAborted();
    return this.connection.call(this.name, async (handle) => {
      const stream = await native().trace.open(handle);
      try {
        signal?.throwIfAborted();
        return new TraceStream(stream, signal);
      } catch (error) {
        stream.close();
        throw error;
      }
    });
  }

  /**
   * Opens a stream when the iteration begins, and gives its events.
   *
   *     for await (const { operation, sector, count, latency } of trace.events({ signal })) …
   *
   * Returns when the filter is detached or the device is gone.
   * @throws as {@link open} and {@link TraceStream.batches}
   */
  async *events(options: TraceStreamOptions = {}): AsyncGenerator<TraceEvent, TraceEnd | undefined> {
    return yield* await this.open(options);
  }

  /** Likewise, many events at a time. */
  async *batches(options: TraceStreamOptions = {}): AsyncGenerator<TraceBatch, TraceEnd | undefined> {
    return yield* (await this.open(options)).batches();
  }
}
