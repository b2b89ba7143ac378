// SPDX-License-Identifier: MIT
import type { Extent } from './units.js';

/** Reads the addon's array, in which sector and count take turns. */
export function extentsOf(pairs: Float64Array): Extent[] {
  return Array.from({ length: pairs.length / 2 }, (_, i) => ({
    sector: pairs[2 * i] ?? 0,
    count: pairs[2 * i + 1] ?? 0,
  }));
}

/** Joins extents that were cut where one batch ended and the next began. */
export class ExtentJoiner {
  #held: Extent | undefined;

  /**
   * Takes the next batch; gives what no later batch can add to.
   * @param extents in ascending order, not touching each other
   * @param cursor where the next batch begins
   * @param last whether there is none
   */
  push(extents: readonly Extent[], cursor: number, last: boolean): Extent[] {
    const joined = [...extents];
    const first = joined[0];
    const held = this.#held;
    if (held && first?.sector === held.sector + held.count) {
      joined[0] = { sector: held.sector, count: held.count + first.count };
    } else if (held) {
      joined.unshift(held);
    }
    const end = joined.at(-1);
    this.#held = !last && end && end.sector + end.count === cursor ? joined.pop() : undefined;
    return joined;
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
