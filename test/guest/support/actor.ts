// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';

import { open, type BlockDevice } from 'blkfilter';

import { run } from './run.js';

/** What an actor does to writes (test/modules/blkfilter_actor.c). */
export const ACTS = { pass: 0, sleep: 1, hold: 2, fail: 3, echo: 4, stall: 5 } as const;

const ACT = 1;
const RELEASE = 2;
const COUNT = 3;
const KILL = 4;
const KILL_FROZEN = 5;

/** Filters that may do what a filter may do, by name with their altitudes; the first two take the disk `added`. */
export function loadActors(filters: Record<string, number>, added = ''): void {
  const names = Object.keys(filters).join(',');
  run('modprobe', 'blkfilter_actor', `names=${names}`, `altitudes=${Object.values(filters).join(',')}`, `added=${added}`);
}

export const unloadActors = (): string => run('rmmod', 'blkfilter_actor');

/** What actors were told since the last call. */
export const actorEvents = (): string[] =>
  readFileSync('/sys/module/blkfilter_actor/parameters/events', 'utf8').split('\n').filter(Boolean);

export class Actor {
  readonly #device: BlockDevice;
  readonly #name: string;

  private constructor(device: BlockDevice, name: string) {
    this.#device = device;
    this.#name = name;
  }

  static async attach(path: string, name: string): Promise<Actor> {
    const device = await open(path);
    await device.attach(name);
    return new Actor(device, name);
  }

  async act(act: keyof typeof ACTS): Promise<void> {
    const data = Buffer.alloc(4);
    data.writeUInt32LE(ACTS[act]);
    await this.#device.ctl(this.#name, ACT, data);
  }

  async release(): Promise<void> {
    await this.#device.ctl(this.#name, RELEASE);
  }

  async count(): Promise<{ seen: number; held: number }> {
    const answer = await this.#device.ctl(this.#name, COUNT, Buffer.alloc(16));
    return { seen: Number(answer.readBigUInt64LE(0)), held: Number(answer.readBigUInt64LE(8)) };
  }

  /** Says of the disk what a driver says when it was pulled. */
  async kill(): Promise<void> {
    await this.#device.ctl(this.#name, KILL);
  }

  /** The same, by a driver that keeps the disk's queue frozen meanwhile. */
  async killFrozen(): Promise<void> {
    await this.#device.ctl(this.#name, KILL_FROZEN);
  }

  async close(): Promise<void> {
    await this.#device.close();
  }

  async stop(): Promise<void> {
    await this.#device.detach(this.#name);
    await this.#device.close();
  }
}
