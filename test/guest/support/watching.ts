// SPDX-License-Identifier: MIT
//
// What watchDevices() tells, and beside it what another program reads of the kernel's messages.
import { spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { watchDevices, type DeviceEvent, type WatchOptions } from 'blkfilter';

import { program, until } from './run.js';

/** An event in short: `add sdd1`, `mount sdd1 /mnt`, `attach sdd cbt`. */
export function short(event: DeviceEvent): string {
  if (event.event === 'overrun') return event.event;
  const words = [event.event, event.device.name];
  if ('mount' in event) words.push(event.mount.path);
  if ('filter' in event) words.push(event.filter);
  return words.join(' ');
}

/** Has the kernel send a message, `change`, that nothing else sends. */
export const nudge = (name = 'sda'): void => {
  writeFileSync(`/sys/class/block/${name}/uevent`, 'change');
};

/** Collects what is told from now on, until the test ends. */
export class Watching {
  /** What there was when it began. */
  readonly present: DeviceEvent[] = [];
  readonly events: DeviceEvent[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #checked = 0;

  private constructor(options: WatchOptions) {
    this.#done = this.#collect(watchDevices({ ...options, signal: this.#stop.signal }));
  }

  static async start(test: TestContext, options: WatchOptions = {}): Promise<Watching> {
    const watching = new Watching(options);
    test.after(() => watching.stop());
    // The socket is open, so this comes behind what is there.
    await until('the first of what is there', () => watching.present.length > 0);
    nudge();
    await until('all of what is there', () => watching.next(0).then((events) => events.includes('change sda')));
    return watching;
  }

  async #collect(events: AsyncIterable<DeviceEvent>): Promise<void> {
    try {
      for await (const event of events) ('present' in event ? this.present : this.events).push(event);
    } catch (error) {
      if (error !== this.#stop.signal.reason) throw error;
    }
  }

  /** The events since it was last asked, in short; waits until there are so many. */
  async next(count: number): Promise<string[]> {
    const from = this.#checked;
    for (let tries = 0; tries < 500 && this.events.length < from + count; tries++) await sleep(10);
    this.#checked = this.events.length;
    return this.events.slice(from).map(short);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

/** A message of the kernel about a block device. */
export interface Message {
  action: string;
  name: string;
  sequence: number;
}

/** Reads the kernel's messages from now on, by test/guest/uevents.c. */
export class Messages {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];

  private constructor() {
    const child = spawn(program('uevents'), { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(child.stdout).on('line', (line) => this.#lines.push(line));
    this.#child = child;
  }

  static async start(test: TestContext): Promise<Messages> {
    const messages = new Messages();
    test.after(() => {
      messages.stop();
    });
    await until('the listener', () => messages.#lines.length > 0);
    return messages;
  }

  get all(): Message[] {
    return this.#lines.flatMap((line) => {
      const [, action = '', name = '', sequence] = / ACTION=(\w+) DEVPATH=\S*\/(\S+) SUBSYSTEM=block .*SEQNUM=(\d+)/.exec(line) ?? [];
      return sequence === undefined ? [] : [{ action, name, sequence: Number(sequence) }];
    });
  }

  /** Waits for the message of that number. */
  async upTo(sequence: number): Promise<void> {
    await until(`message ${sequence}`, () => this.#lines.some((line) => line.includes(` SEQNUM=${sequence} `)));
  }

  stop(): void {
    this.#child.kill();
  }
}
