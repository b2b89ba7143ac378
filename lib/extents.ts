// SPDX-License-Identifier: MIT
import type { Extent } from './units.js';

/**
 * Extents in ascending order, no two of which touch. They may be millions, so there is an object for one only while
 * somebody looks at it.
 *
 *     for (const { sector, count } of extents) …
 */
export class ExtentList implements Iterable<Extent> {
  /** Sector and count of each in turns: for those whom an object for each is too much. */
  readonly pairs: Float64Array;

  /** @internal */
  constructor(pairs: Float64Array) {
    this.pairs = pairs;
  }

  /** How many there are. */
  get length(): number {
    return this.pairs.length / 2;
  }

  *[Symbol.iterator](): Generator<Extent, void> {
    const { pairs } = this;
    for (let i = 0; i < pairs.length; i += 2) yield { sector: pairs[i] ?? 0, count: pairs[i + 1] ?? 0 };
  }
}

/** Joins extents that were cut where one batch ended and the next began. */
export class ExtentJoiner {
  /** Sector and count; nothing is held when the count is 0. */
  #sector = 0;
  #count = 0;

  /**
   * Takes the next batch; gives what no later batch can add to.
   * @param pairs sector and count in turns, in ascending order, no two extents touching. They are the joiner's from now on
   * @param cursor where the next batch begins
   * @param last whether there is none
   */
  push(pairs: Float64Array, cursor: number, last: boolean): ExtentList {
    let joined = pairs;
    if (this.#count > 0 && joined[0] === this.#sector + this.#count) {
      joined[0] = this.#sector;
      joined[1] = (joined[1] ?? 0) + this.#count;
    } else if (this.#count > 0) {
      joined = new Float64Array(pairs.length + 2);
      joined.set([this.#sector, this.#count]);
      joined.set(pairs, 2);
    }
    const [sector = 0, count = 0] = joined.subarray(-2);
    const hold = !last && count > 0 && sector + count === cursor;
    [this.#sector, this.#count] = hold ? [sector, count] : [0, 0];
    return new ExtentList(hold ? joined.subarray(0, -2) : joined);
  }
}

/** What changed in a range, as one bit a block. */
export class ChangeBitmap {
  constructor(
    /** The generation and the current epoch when the bits were read. */
    readonly generation: string,
    readonly epoch: number,
    /** The range in sectors. It starts at a block's start. */
    readonly sector: number,
    readonly count: number,
    /** Sectors in a block. */
    readonly blockSectors: number,
    /** Bit I of byte J, the least significant first, stands for block J * 8 + I of the range. */
    readonly bits: Uint8Array,
  ) {}

  /**
   * Whether the block that holds a sector changed.
   * @param sector relative to the device, within the range
   * @throws {RangeError} outside the range
   */
  has(sector: number): boolean {
    if (!(sector >= this.sector && sector < this.sector + this.count)) {
      throw new RangeError(`sector ${sector} is outside ${this.sector}-${this.sector + this.count - 1}`);
    }
    return this.#bit(Math.floor((sector - this.sector) / this.blockSectors));
  }

  /** The changed blocks as extents, cut to the range. */
  *extents(): Generator<Extent, void> {
    const blocks = Math.ceil(this.count / this.blockSectors);
    for (let block = 0; block < blocks; block++) {
      if (!this.#bit(block)) continue;
      const first = block;
      while (block + 1 < blocks && this.#bit(block + 1)) block++;
      const end = Math.min((block + 1) * this.blockSectors, this.count);
      yield { sector: this.sector + first * this.blockSectors, count: end - first * this.blockSectors };
    }
  }

  #bit(block: number): boolean {
    return (((this.bits[Math.floor(block / 8)] ?? 0) >> (block % 8)) & 1) === 1;
  }
}
