// SPDX-License-Identifier: MIT
import { closeSync, openSync } from 'node:fs';
import { z } from 'zod';

import { mountTable, mountTableFile } from '../mounts.js';
import type { NativePoll } from '../native.js';
import { check, signal, size } from '../options.js';
import { nameOfMounted } from '../stack.js';
import { Devices } from './devices.js';
import type { DeviceEvent } from './events.js';
import { Mounts } from './mounts.js';
import { pollOf } from './poll.js';
import { UeventSocket } from './uevents.js';

/** Of the messages of some thousand devices that come at once. */
const BUFFER = 8 * 1024 * 1024;

/** What the kernel can take as a socket's buffer. */
const BUFFER_MAX = 0x3fffffff;

const watchOptions = z.strictObject({
  signal: signal.optional(),
  buffer: size.refine((bytes) => bytes <= BUFFER_MAX, `more than ${BUFFER_MAX} bytes`).default(BUFFER),
});

/** How to watch. */
export interface WatchOptions {
  /** Stops watching: the iteration then throws its reason. */
  signal?: AbortSignal;
  /**
   * Room for what the kernel tells while nobody asks for the next event: bytes or text like `64MiB`, 8 MiB unless told.
   * An event takes about 1 KiB. Without CAP_NET_ADMIN it is cut to `net.core.rmem_max`.
   */
  buffer?: number | string;
}

/** Waits for whichever of several polls is ready first. */
class Waiter {
  readonly #polls: NativePoll[];
  readonly #waiting = new Set<NativePoll>();
  #wake: (() => void) | undefined;
  #fail: ((error: unknown) => void) | undefined;

  constructor(polls: NativePoll[]) {
    this.#polls = polls;
  }

  /** Begins to wait. What is waited for already is not asked again. */
  arm(): Promise<void> {
    const woken = new Promise<void>((resolve, reject) => {
      this.#wake = resolve;
      this.#fail = reject;
    });
    for (const poll of this.#polls) if (!this.#waiting.has(poll)) void this.#wait(poll);
    return woken;
  }

  async #wait(poll: NativePoll): Promise<void> {
    this.#waiting.add(poll);
    try {
      await poll.wait();
      this.#wake?.();
    } catch (error) {
      this.#fail?.(error);
    } finally {
      this.#waiting.delete(poll);
    }
  }
}

async function* follow(socket: UeventSocket, waiter: Waiter, stop: AbortSignal): AsyncGenerator<DeviceEvent, void> {
  const devices = new Devices();
  const mounts = new Mounts(nameOfMounted, (name) => devices.get(name));
  yield* devices.lookAround({ present: true });
  yield* mounts.mounted(await mountTable(), { present: true });
  for (;;) {
    const woken = waiter.arm();
    if (stop.aborted) return;
    // What is mounted after this reading is news to the poll, whether that has begun yet or not.
    // The table comes first, so that what was mounted is on a device that the messages have told of. What was unmounted
    // is told before them, because one unmounts before one removes.
    const table = await mountTable();
    yield* mounts.unmounted(table);
    let drained = false;
    let lost = false;
    while (!drained) {
      const received = socket.receive();
      ({ drained } = received);
      lost ||= received.lost;
      yield* devices.apply(received.messages);
    }
    if (lost) {
      yield { event: 'overrun' };
      yield* devices.lookAround();
    }
    yield* mounts.mounted(table);
    await woken;
  }
}

async function* watch(
  buffer: number,
  stop: AbortSignal,
  signal: AbortSignal | undefined,
): AsyncGenerator<DeviceEvent, void> {
  signal?.throwIfAborted();
  const fd = openSync(mountTableFile, 'r');
  const poll = pollOf(fd, 'exceptional');
  let socket: UeventSocket | undefined;
  const wake = (): void => {
    poll.close();
    socket?.poll.close();
  };
  try {
    socket = new UeventSocket(buffer);
    stop.addEventListener('abort', wake);
    for await (const event of follow(socket, new Waiter([socket.poll, poll]), stop)) {
      if (stop.aborted) break;
      yield event;
    }
    signal?.throwIfAborted();
  } finally {
    stop.removeEventListener('abort', wake);
    poll.close();
    closeSync(fd);
    socket?.close();
  }
}

/**
 * Tells which block devices there are, what is mounted on them and which filters they have, and from then on what happens.
 *
 *     for await (const { event, device } of watchDevices({ signal })) …
 *
 * Nothing is opened before the iteration starts. It goes on until the signal stops it or the loop is left. Neither root nor
 * udev is needed, nor the kernel module: without it there are no `attach` and `detach`. docs/watch.md tells what each event
 * means, and what cannot be seen.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` at once; while iterating what keeps the kernel from telling, such as
 *   `EAFNOSUPPORT` in a sandbox; and the signal's reason
 */
export function watchDevices(options: WatchOptions = {}): AsyncGenerator<DeviceEvent, void> {
  const { signal, buffer } = check(watchOptions, options, 'watch');
  const left = new AbortController();
  const events = watch(buffer, signal ? AbortSignal.any([signal, left.signal]) : left.signal, signal);
  // A generator ends no earlier than what it waits for, which may be never.
  const finish = events.return.bind(events);
  events.return = async (value) => {
    left.abort();
    return finish(value);
  };
  return events;
}
