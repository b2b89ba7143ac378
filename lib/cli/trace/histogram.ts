// SPDX-License-Identifier: MIT

const STARS = 40;

/** One row: from the first to the last, both included. */
export interface Bucket {
  from: number;
  to: number;
  count: number;
}

/** Counts of values by powers of two: 0 and 1, 2 and 3, 4 to 7, … */
export class Histogram {
  readonly #counts: number[] = [];

  /** Counts a value; of a fraction its whole part. */
  add(value: number): void {
    const row = value < 2 ? 0 : Math.floor(Math.log2(value));
    while (this.#counts.length <= row) this.#counts.push(0);
    this.#counts[row] = (this.#counts[row] ?? 0) + 1;
  }

  /** From the first row up to the last one that has any. */
  buckets(): Bucket[] {
    return this.#counts.map((count, row) => ({ from: row === 0 ? 0 : 2 ** row, to: 2 ** (row + 1) - 1, count }));
  }
}

/** Draws buckets as bcc's biolatency does. Rows of nothing before the first value are left out. */
export function histogramLines(buckets: Bucket[], unit: string): string[] {
  const first = buckets.findIndex(({ count }) => count > 0);
  const most = Math.max(...buckets.map(({ count }) => count));
  const row = (from: string, to: string, count: string, bar: string): string =>
    `${from.padStart(10)} ${to === '' ? '  ' : '->'} ${to.padEnd(10)} : ${count.padEnd(8)} ${bar}`;
  return [
    row(unit, '', 'count', 'distribution'),
    ...buckets.slice(Math.max(0, first)).map(({ from, to, count }) => {
      const stars = '*'.repeat(Math.round((count / most) * STARS));
      return row(String(from), String(to), String(count), `|${stars.padEnd(STARS)}|`);
    }),
  ];
}
