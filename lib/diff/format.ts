// SPDX-License-Identifier: MIT
//
// Ceph's format of what changed in an image, "rbd diff v1", as its doc/dev/rbd-diff.rst describes it: a banner, records
// that tell which snapshots it leads from and to and how large the image is, records of data and of zeroes, and an end.
// Each record begins with a letter; numbers are little-endian, offsets and lengths in bytes.
import { inspect } from 'node:util';

import { BlkfilterError } from '../errors.js';
import type { Input } from './input.js';

const BANNER = Buffer.from('rbd diff v1\n');

/** What a diff says of itself before its data. */
export interface DiffHeader {
  /** The snapshot that it builds on; without one, on nothing but zeroes. */
  from?: string | undefined;
  /** The snapshot that it leads to. */
  to?: string | undefined;
  /** The image's size then, in bytes. */
  size: number;
}

/** A range of the image: what is there now. */
export interface DiffRange {
  /** In bytes, as is `length`. */
  offset: number;
  length: number;
  /** So many bytes; none when all are zero. */
  data?: Buffer | undefined;
}

/** Bytes of data that are held in memory at a time. */
const PIECE = 1 << 20;

/** Zeroes in one record: programs that hand a length to the kernel or to librbd as it is may fail from 2 GiB on. */
const ZEROES = 1 << 30;

/** Bytes that a name has at most; rbd has the same limit. */
const NAME = 4096;

const again = 'make it again, or fetch it again if it was copied';

/** Says where a diff is wrong, and in what. */
export function damaged(position: number, reason: string, hint = again): BlkfilterError {
  return new BlkfilterError({ code: 'EDIFF', reason: `at byte ${position} of the diff: ${reason}`, hint });
}

/** What is wrong with a range that follows those up to `end`, in an image of `size` bytes. */
function misfit({ offset, length }: DiffRange, end: number, size: number): string | undefined {
  if (length === 0) return 'a range without a byte';
  if (offset < end) return `a range that begins at offset ${offset}, and the one before ends at ${end}`;
  if (offset > size || length > size - offset) {
    return `a range of ${length} bytes at offset ${offset}, and the image has ${size}`;
  }
  return undefined;
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function named(tag: string, name: string | undefined): Buffer[] {
  if (name === undefined) return [];
  const length = Buffer.alloc(4);
  const text = Buffer.from(name);
  length.writeUInt32LE(text.length);
  return [Buffer.from(tag), length, text];
}

/** Puts zeroes that touch into one range. */
async function* joined(ranges: AsyncIterable<DiffRange> | Iterable<DiffRange>): AsyncGenerator<DiffRange, void> {
  let zeroes: DiffRange | undefined;
  for await (const range of ranges) {
    const { offset, length, data } = range;
    if (zeroes && !data && zeroes.offset + zeroes.length === offset && zeroes.length + length <= ZEROES) {
      zeroes = { offset: zeroes.offset, length: zeroes.length + length };
      continue;
    }
    if (zeroes) yield zeroes;
    zeroes = data ? undefined : range;
    if (data) yield range;
  }
  if (zeroes) yield zeroes;
}

/**
 * Writes a diff.
 * @param ranges in ascending order, within the size; each becomes one record, zeroes that touch are put together
 * @returns its bytes, in parts
 * @throws {BlkfilterError} `EDIFF` the ranges overlap, or end beyond the size; and what `ranges` throws
 */
export async function* encode(
  { from, to, size }: DiffHeader,
  ranges: AsyncIterable<DiffRange> | Iterable<DiffRange>,
): AsyncGenerator<Buffer, void> {
  const head = Buffer.concat([BANNER, ...named('f', from), ...named('t', to), Buffer.from('s'), number(size)]);
  yield head;
  let position = head.length;
  let end = 0;
  for await (const range of joined(ranges)) {
    const { offset, length, data } = range;
    const wrong = misfit(range, end, size);
    if (wrong !== undefined) throw damaged(position, wrong);
    const record = Buffer.concat([Buffer.from(data ? 'w' : 'z'), number(offset), number(length)]);
    yield record;
    if (data) yield data;
    position += record.length + (data?.length ?? 0);
    end = offset + length;
  }
  yield Buffer.from('e');
}

/** Where a record of data or zeroes begins and what it is about. Its data follow in the input. */
interface DataRecord {
  zero: boolean;
  offset: number;
  length: number;
}

/** Reads a diff. What is wrong with it is an error that names the place. */
export class DiffReader {
  readonly header: DiffHeader;
  readonly #input: Input;
  /** Of the first record after the header. */
  readonly #tag: string;

  private constructor(header: DiffHeader, input: Input, tag: string) {
    this.header = header;
    this.#input = input;
    this.#tag = tag;
  }

  /**
   * Reads up to the data.
   * @throws {BlkfilterError} `EDIFF` it is no diff, or damaged
   */
  static async open(input: Input): Promise<DiffReader> {
    const banner = await input.take(BANNER.length);
    if (banner.length < BANNER.length && BANNER.indexOf(banner) === 0) throw cutOff(input, 'within its header');
    if (!banner.equals(BANNER)) {
      const hint = '`blkfilter diff` and `rbd export-diff` make diffs';
      throw damaged(0, `${inspect(banner.toString('latin1'))} is not the header of a diff, 'rbd diff v1\\n'`, hint);
    }
    const header: Partial<DiffHeader> = {};
    for (;;) {
      const at = input.position;
      const tag = await tagOf(input);
      const field = ({ f: 'from', t: 'to', s: 'size' } as const)[tag];
      if (field === undefined) {
        if (!'wze'.includes(tag)) throw damaged(at, `${recordOf(tag)} is not known`);
        if (header.size === undefined) throw damaged(at, `${recordOf(tag)} before the size of the image`);
        return new DiffReader({ ...header, size: header.size }, input, tag);
      }
      if (header[field] !== undefined) throw damaged(at, `${recordOf(tag)}, for the second time`);
      if (field === 'size') header.size = await numberOf(input, at, tag, 'size');
      else header[field] = await nameIn(input, at, tag);
    }
  }

  /**
   * The ranges in ascending order. Data are given in parts of at most 1 MiB, so that large ones take no more memory.
   * @throws {BlkfilterError} `EDIFF` the diff is damaged or cut off; what was given before is sound
   */
  async *ranges(): AsyncGenerator<DiffRange, void> {
    for await (const { zero, offset, length } of this.#records()) {
      if (zero) {
        yield { offset, length };
        continue;
      }
      const at = this.#input.position;
      for (let done = 0; done < length; ) {
        const wanted = Math.min(PIECE, length - done);
        const data = await this.#input.take(wanted);
        if (data.length < wanted) throw cutOff(this.#input, dataOf(length, at));
        yield { offset: offset + done, length: wanted, data };
        done += wanted;
      }
    }
  }

  /**
   * Looks whether the diff is sound, up to its end, without reading its data where the input can do without.
   * @throws {BlkfilterError} as {@link ranges}
   */
  async check(): Promise<void> {
    for await (const { zero, length } of this.#records()) {
      const at = this.#input.position;
      if (!zero && !(await this.#input.skip(length))) throw cutOff(this.#input, dataOf(length, at));
    }
  }

  /** The records after the header. Whoever takes them has to take or skip their data. */
  async *#records(): AsyncGenerator<DataRecord, void> {
    const { size } = this.header;
    const input = this.#input;
    let end = 0;
    let at = input.position - 1;
    for (let tag = this.#tag; tag !== 'e'; tag = await tagOf(input)) {
      if ('fts'.includes(tag)) throw damaged(at, `${recordOf(tag)} after the data`);
      if (!'wz'.includes(tag)) throw damaged(at, `${recordOf(tag)} is not known`);
      const offset = await numberOf(input, at, tag, 'offset');
      const length = await numberOf(input, at, tag, 'length');
      const wrong = misfit({ offset, length }, end, size);
      if (wrong !== undefined) throw damaged(at, wrong);
      yield { zero: tag === 'z', offset, length };
      end = offset + length;
      at = input.position;
    }
    at = input.position;
    if ((await input.take(1)).length > 0) throw damaged(at, 'more follows after its end', 'one diff at a time');
  }
}

/** A letter as it is, any other byte as a number. */
const recordOf = (tag: string): string =>
  `record ${/^[ -~]$/.test(tag) ? `'${tag}'` : `0x${tag.charCodeAt(0).toString(16).padStart(2, '0')}`}`;

const cutOff = ({ position }: Input, where: string): BlkfilterError => damaged(position, `it is cut off, ${where}`);

const dataOf = (length: number, at: number): string => `within the ${length} bytes of data from byte ${at} on`;

async function tagOf(input: Input): Promise<string> {
  const tag = (await input.take(1)).toString('latin1');
  if (tag === '') throw cutOff(input, 'and there is more to come');
  return tag;
}

async function take(input: Input, at: number, tag: string, length: number): Promise<Buffer> {
  const bytes = await input.take(length);
  if (bytes.length < length) throw cutOff(input, `within ${recordOf(tag)} from byte ${at} on`);
  return bytes;
}

async function numberOf(input: Input, at: number, tag: string, what: string): Promise<number> {
  const value = (await take(input, at, tag, 8)).readBigUInt64LE();
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw damaged(at, `${recordOf(tag)} has the ${what} ${value}, which is beyond any device`);
  }
  return Number(value);
}

async function nameIn(input: Input, at: number, tag: string): Promise<string> {
  const length = (await take(input, at, tag, 4)).readUInt32LE();
  if (length > NAME) throw damaged(at, `${recordOf(tag)} has a name of ${length} bytes, and ${NAME} are the most`);
  const bytes = await take(input, at, tag, length);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw damaged(at, `${recordOf(tag)} has a name that is no text`);
  }
}
