// SPDX-License-Identifier: MIT
// The kernel's uevents, from its netlink socket.
import { closeSync } from 'node:fs';
import { z } from 'zod';

import { BlkfilterError, errnoName } from '../errors.js';
import { native, type NativePoll } from '../native.js';
import { checkAnswer, whole } from '../options.js';
import { identity } from './device.js';
import { pollOf } from './poll.js';

const message = identity.extend({
  ACTION: z.string(),
  DEVPATH: z.string(),
  SEQNUM: z.coerce.number().pipe(whole),
  /** Somebody wrote to a file `uevent`: the device itself had nothing to say. */
  SYNTH_UUID: z.string().optional(),
  RESIZE: z.string().optional(),
  DISK_RO: z.string().optional(),
  DISK_MEDIA_CHANGE: z.string().optional(),
  DISK_EJECT_REQUEST: z.string().optional(),
  BLKFILTER_ACTION: z.string().optional(),
  BLKFILTER: z.string().optional(),
});

/** A uevent of a block device. */
export type Uevent = z.output<typeof message>;

/** Checks the variables of one. */
export const ueventOf = (variables: object): Uevent => checkAnswer(message, variables, 'uevent');

/** Says of what was done that it failed. */
function explained<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { errno, syscall } = error as NodeJS.ErrnoException;
    if (!(error instanceof Error) || errno === undefined) throw error;
    throw new BlkfilterError({
      code: errnoName(errno),
      reason: "the kernel's uevents cannot be listened to",
      hint: 'it takes a netlink socket, which some sandboxes forbid',
      errno,
      syscall,
    }).withStackOf(error);
  }
}

/** A socket that listens to them. Root is not needed. */
export class UeventSocket {
  readonly #fd: number;
  readonly poll: NativePoll;

  /** @param bytes room for what is not received yet */
  constructor(bytes: number) {
    this.#fd = explained(() => native().uevents.open(bytes));
    this.poll = pollOf(this.#fd, 'readable');
  }

  /** Some of what came, without waiting; see the addon. */
  receive(): { messages: Uevent[]; lost: boolean; drained: boolean } {
    const { messages, ...rest } = explained(() => native().uevents.receive(this.#fd));
    return { messages: messages.map(ueventOf), ...rest };
  }

  close(): void {
    this.poll.close();
    closeSync(this.#fd);
  }
}
