// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import { open, type BlockDevice, type Filter } from 'blkfilter';

import { run } from './run.js';
import { zonesTouched } from './zones.js';

/** Filters that only count (test/modules/blkfilter_witness.c), by name with their altitudes; perhaps asleep for so many µs. */
export function loadWitness(filters: Record<string, number>, { sleeps = 0 } = {}): void {
  run(
    'modprobe',
    'blkfilter_witness',
    `names=${Object.keys(filters).join(',')}`,
    `altitudes=${Object.values(filters).join(',')}`,
    `sleeps=${sleeps}`,
  );
}

export const unloadWitness = (): string => run('rmmod', 'blkfilter_witness');

/** The name of one that looks at each bio's last step, and so at requests that come without a bio as well; it never sleeps. */
export const LAST_WITNESS = 'last';

/** How many witnesses are attached anywhere. */
export const liveWitnesses = (): number =>
  Number(readFileSync('/sys/module/blkfilter_witness/parameters/live', 'utf8'));

/** The command that reads a witness's counts. */
export const WITNESS_COUNT = 1;
export const WITNESS_COUNT_BYTES = 40;

/**
 * Sectors that were read from and written to (discarded, zeroed, appended) a device, and those of the zones that were reset,
 * finished or appended to.
 */
export interface Traffic {
  read: number;
  written: number;
  zones: number;
}

const fields = (device: string): number[] =>
  readFileSync(`/sys/class/block/${basename(device)}/stat`, 'utf8').trim().split(/ +/).map(Number);

/** What the kernel's own statistics, and its trace, say of a device. */
export function statistics(device: string): Traffic {
  const [, , read = 0, , , , written = 0, , , , , , , discarded = 0] = fields(device);
  return { read, written: written + discarded, zones: zonesTouched(device) };
}

const inFlight = (device: string): boolean => fields(device)[8] !== 0;

async function seenBy(filter: Filter): Promise<Traffic> {
  const answer = await filter.ctl(WITNESS_COUNT, Buffer.alloc(WITNESS_COUNT_BYTES));
  const counts = new BigUint64Array(answer.buffer, answer.byteOffset, WITNESS_COUNT_BYTES / 8);
  const [, , read = 0, written = 0, zones = 0] = [...counts].map(Number);
  return { read, written, zones };
}

/** What a witness that was there from the first request on has seen, and what the kernel has counted. */
export async function seenSinceBirth(path: string, name: string): Promise<{ seen: Traffic; counted: Traffic }> {
  const device = await open(path);
  try {
    return { seen: await seenBy(await device.filter(name)), counted: statistics(path) };
  } finally {
    await device.close();
  }
}

export const difference = (now: Traffic, before: Traffic): Traffic => ({
  read: now.read - before.read,
  written: now.written - before.written,
  zones: now.zones - before.zones,
});

/** A witness on a device, and the kernel's statistics of the same time. */
export class Watch {
  readonly #device: BlockDevice;
  readonly #filter: Filter;
  readonly #before: { seen: Traffic; counted: Traffic };

  private constructor(device: BlockDevice, filter: Filter, before: { seen: Traffic; counted: Traffic }) {
    this.#device = device;
    this.#filter = filter;
    this.#before = before;
  }

  static async start(path: string, filter: string): Promise<Watch> {
    const device = await open(path);
    try {
      const witness = await device.attach(filter);
      // From a moment without I/O on: the two figures are not read at once, a file system below may still be busy, and what is
      // asleep in the witness has been seen but not counted.
      const figures = async () => ({ seen: await seenBy(witness), counted: statistics(path) });
      for (;;) {
        const before = await figures();
        await sleep(100);
        if (!inFlight(path) && isDeepStrictEqual(await figures(), before)) return new Watch(device, witness, before);
      }
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /** What the witness saw, and what the kernel counted. */
  async compare(): Promise<{ seen: Traffic; counted: Traffic }> {
    const seen = await seenBy(this.#filter);
    return {
      seen: difference(seen, this.#before.seen),
      counted: difference(statistics(this.#device.path), this.#before.counted),
    };
  }

  async stop(): Promise<void> {
    await this.#filter.detach();
    await this.#device.close();
  }
}
