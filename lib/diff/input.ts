// SPDX-License-Identifier: MIT
// Where a diff is read from: bytes in order, of which some can be passed over.
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

import { BlkfilterError } from '../errors.js';
import { readPart } from '../files.js';

/** Bytes in order. */
export interface Input {
  /** How many bytes were taken or skipped so far. */
  readonly position: number;
  /**
   * Takes the next bytes.
   * @param length so many, all of which are held in memory
   * @returns fewer only where the input ends
   */
  take(length: number): Promise<Buffer>;
  /**
   * Passes over the next bytes; to the end where there are not so many.
   * @returns whether there were so many
   */
  skip(length: number): Promise<boolean>;
  /** Lets go of what the bytes come from. */
  close(): Promise<void>;
}

/** Bytes that skipping a stream takes at a time. */
const STRIDE = 1 << 20;

/** Reads what somebody else writes: a pipe, or anything that can be iterated over. */
export class StreamInput implements Input {
  position = 0;
  readonly #chunks: AsyncIterator<unknown> | Iterator<unknown>;
  /** What of the last chunk is not taken yet. */
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#chunks = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  async take(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let wanted = length; wanted > 0; ) {
      if (this.#rest.length === 0 && !(await this.#refill())) break;
      const part = this.#rest.subarray(0, wanted);
      this.#rest = this.#rest.subarray(part.length);
      wanted -= part.length;
      parts.push(part);
    }
    const [first] = parts;
    const taken = first && parts.length === 1 ? first : Buffer.concat(parts);
    this.position += taken.length;
    return taken;
  }

  async skip(length: number): Promise<boolean> {
    for (let wanted = length; wanted > 0; ) {
      const { length: taken } = await this.take(Math.min(wanted, STRIDE));
      if (taken === 0) return false;
      wanted -= taken;
    }
    return true;
  }

  /** Gets the next chunk that is not empty; false when there is none. */
  async #refill(): Promise<boolean> {
    while (!this.#ended && this.#rest.length === 0) {
      const next = await this.#chunks.next();
      const value: unknown = next.value;
      if (next.done) {
        this.#ended = true;
      } else if (value instanceof Uint8Array) {
        this.#rest = Buffer.from(value.buffer, value.byteOffset, value.length);
      } else {
        const reason = `a diff is made of bytes, and not of ${typeof value}s`;
        throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: 'set no encoding on the stream' });
      }
    }
    return this.#rest.length > 0;
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#chunks.return?.();
  }
}

/** Bytes that are read at a time where little is asked for: between data there is little. */
const WINDOW = 4096;

/** Reads a file, where skipping costs nothing. */
export class FileInput implements Input {
  position: number;
  readonly #file: FileHandle;
  readonly #size: number;
  /** A part of the file, and where it begins. */
  #window: Buffer = Buffer.alloc(0);
  #windowAt = 0;

  private constructor(file: FileHandle, size: number, position: number) {
    this.#file = file;
    this.#size = size;
    this.position = position;
  }

  /** Reads a file that is open, from its start. */
  static async of(file: FileHandle): Promise<FileInput> {
    return new FileInput(file, (await file.stat()).size, 0);
  }

  async take(length: number): Promise<Buffer> {
    const taken = length >= WINDOW ? await readPart(this.#file, this.position, length) : await this.#peek(length);
    this.position += taken.length;
    return taken;
  }

  /** The next bytes, out of the window. */
  async #peek(length: number): Promise<Buffer> {
    const from = this.position - this.#windowAt;
    if (from < 0 || from + length > this.#window.length) {
      this.#window = await readPart(this.#file, this.position, WINDOW);
      this.#windowAt = this.position;
      return this.#window.subarray(0, length);
    }
    return this.#window.subarray(from, from + length);
  }

  skip(length: number): Promise<boolean> {
    const there = length <= this.#size - this.position;
    this.position = there ? this.position + length : this.#size;
    return Promise.resolve(there);
  }

  /** Whether it is the file that has this status. */
  async is({ dev, ino }: BigIntStats): Promise<boolean> {
    const own = await this.#file.stat({ bigint: true });
    return own.dev === dev && own.ino === ino;
  }

  /** Begins again at the start. */
  rewind(): void {
    this.position = 0;
    this.#window = Buffer.alloc(0);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
