// SPDX-License-Identifier: MIT
// What is known of the devices, and how the kernel's messages change it.
//
// Nothing is lost between the first look and the messages, and nothing comes twice, for these reasons:
// - The socket is open before the first look, so a message that is not in it was sent before, and what it told is seen.
// - The messages that are in it already may tell what was seen too. They are told apart not by their numbers, for the
//   kernel neither sends a message at the moment at which /sys changes nor always in the order of their numbers, but by what
//   they say: one that adds what is known, or removes what is not known, changes nothing and is left out.
// - A disk's sequence number is never used again. A message of a smaller one than is known tells of a disk that had that name
//   before the look, and is left out too.
// - The last message about a device therefore decides whether it is known in the end, and without any the look does.
//   A device that was seen while it went has its message behind it: it is added, and then removed.
// The same holds for a look after a loss, because the socket was empty before it.
import { isDeepStrictEqual } from 'node:util';

import { deviceOf, look, names, type Seen } from './device.js';
import type { AddEvent, ChangeEvent, DeviceEvent, DeviceInfo } from './events.js';
import type { Uevent } from './uevents.js';

interface Known {
  device: DeviceInfo;
  filters: Set<string>;
}

/** Where a device is seen: /sys, unless for a test. */
export interface View {
  names(): Promise<string[]>;
  look(name: string): Promise<Seen | undefined>;
}

/** What an event says of itself. */
type Origin = Pick<AddEvent, 'present' | 'sequence'>;

const inNumericOrder = new Intl.Collator('en', { numeric: true });

/** Disks before their partitions. */
const inOrder = (a: Seen, b: Seen): number =>
  inNumericOrder.compare(a.device.partition?.disk ?? a.device.name, b.device.partition?.disk ?? b.device.name) ||
  (a.device.partition?.number ?? 0) - (b.device.partition?.number ?? 0);

const sameDevice = (a: DeviceInfo | undefined, b: DeviceInfo): boolean =>
  a?.major === b.major &&
  a.minor === b.minor &&
  a.diskSequence === b.diskSequence &&
  a.partition?.start === b.partition?.start;

/** Of what differs, what it was. */
function differences(was: DeviceInfo, now: DeviceInfo): Partial<DeviceInfo> | undefined {
  const differing = Object.entries(was).filter(([key, value]) => !isDeepStrictEqual(value, now[key as keyof DeviceInfo]));
  return differing.length ? Object.fromEntries(differing) : undefined;
}

function aboutOf({ RESIZE, DISK_RO, DISK_MEDIA_CHANGE, DISK_EJECT_REQUEST }: Uevent): ChangeEvent['about'] {
  if (RESIZE) return 'size';
  if (DISK_RO) return 'readOnly';
  if (DISK_MEDIA_CHANGE) return 'medium';
  return DISK_EJECT_REQUEST ? 'eject' : undefined;
}

/** The devices that are known. */
export class Devices {
  readonly #view: View;
  readonly #known = new Map<string, Known>();

  constructor(view: View = { names, look }) {
    this.#view = view;
  }

  /** What is known of a device. */
  get(name: string): DeviceInfo | undefined {
    return this.#known.get(name)?.device;
  }

  /**
   * Looks at all devices, and tells what is different from what is known.
   * @param origin what the events say of themselves
   */
  async *lookAround(origin: Origin = {}): AsyncGenerator<DeviceEvent, void> {
    const all = await Promise.all((await this.#view.names()).map((name) => this.#view.look(name)));
    const there = new Map(all.filter((seen) => seen !== undefined).sort(inOrder).map((seen) => [seen.device.name, seen]));
    // Partitions before their disks, as the kernel does.
    for (const { device } of [...this.#known.values()].reverse()) {
      if (!sameDevice(there.get(device.name)?.device, device)) yield this.#remove(device, origin);
    }
    for (const seen of there.values()) {
      const known = this.#known.get(seen.device.name);
      yield* known ? this.#update(known, seen, origin) : this.#add(seen, origin);
    }
  }

  /**
   * Tells what messages mean. What they leave open is looked up once for all of them, so it is what is the case now.
   * @param messages in the order in which they came
   */
  async *apply(messages: Uevent[]): AsyncGenerator<DeviceEvent, void> {
    const looks = new Map<string, Promise<Seen | undefined>>();
    for (const message of messages) {
      const name = message.DEVPATH.replace(/.*\//, '');
      const lookOnce = async (): Promise<Seen | undefined> => {
        if (!looks.has(name)) looks.set(name, this.#view.look(name));
        const seen = await looks.get(name);
        // Another device may have its name by now.
        return seen?.device.diskSequence === message.DISKSEQ ? seen : undefined;
      };
      yield* this.#applyOne(name, message, lookOnce);
    }
  }

  async *#applyOne(
    name: string,
    message: Uevent,
    lookOnce: () => Promise<Seen | undefined>,
  ): AsyncGenerator<DeviceEvent, void> {
    const known = this.#known.get(name);
    if (known && message.DISKSEQ < known.device.diskSequence) return;
    const origin = { sequence: message.SEQNUM };
    // What somebody wrote to a file `uevent` adds and removes nothing.
    const real = message.SYNTH_UUID === undefined;
    switch (message.ACTION) {
      case 'add':
        if (!real) return;
        // It was seen while it was being added, and may have been incomplete.
        if (known?.device.diskSequence === message.DISKSEQ) {
          const seen = await lookOnce();
          if (seen) yield* this.#update(known, seen, origin);
          return;
        }
        if (known) yield this.#remove(known.device, {});
        yield* this.#add((await lookOnce()) ?? { device: this.#told(name, message), filters: [] }, origin);
        return;
      case 'remove':
        if (known && real) yield this.#remove(known.device, origin);
        return;
      case 'online':
      case 'offline':
        if (known) yield { event: message.ACTION, device: known.device, ...origin };
        return;
      case 'change':
        if (known) yield* this.#change(known, message, await lookOnce());
        return;
    }
  }

  *#change(known: Known, message: Uevent, seen: Seen | undefined): Generator<DeviceEvent, void> {
    const origin = { sequence: message.SEQNUM };
    const { BLKFILTER: filter, BLKFILTER_ACTION: action } = message;
    if (filter === undefined) {
      const was = seen && differences(known.device, seen.device);
      // Another medium may have come, and be gone again.
      known.device = seen?.device ?? { ...known.device, diskSequence: message.DISKSEQ };
      const about = aboutOf(message);
      yield { event: 'change', device: known.device, ...(about && { about }), ...(was && { was }), ...origin };
    } else if (action === 'attach' && !known.filters.has(filter)) {
      known.filters.add(filter);
      yield { event: 'attach', device: known.device, filter, ...origin };
    } else if (action === 'detach' && known.filters.delete(filter)) {
      yield { event: 'detach', device: known.device, filter, ...origin };
    }
  }

  /** A device that is gone already, as far as the message tells of it. */
  #told(name: string, message: Uevent): DeviceInfo {
    return deviceOf(name, message.DEVPATH.split('/').at(-2) ?? '', message);
  }

  *#add({ device, filters }: Seen, origin: Origin): Generator<DeviceEvent, void> {
    this.#known.set(device.name, { device, filters: new Set(filters) });
    yield { event: 'add', device, ...origin };
    const { present } = origin;
    for (const filter of filters) yield { event: 'attach', device, filter, ...(present && { present }) };
  }

  #remove(device: DeviceInfo, origin: Origin): DeviceEvent {
    this.#known.delete(device.name);
    return { event: 'remove', device, ...origin };
  }

  *#update(known: Known, { device, filters }: Seen, origin: Origin): Generator<DeviceEvent, void> {
    const was = differences(known.device, device);
    known.device = device;
    if (was) yield { event: 'change', device, was, ...origin };
    for (const filter of known.filters) {
      if (!filters.includes(filter) && known.filters.delete(filter)) yield { event: 'detach', device, filter };
    }
    for (const filter of filters) {
      if (known.filters.has(filter)) continue;
      known.filters.add(filter);
      yield { event: 'attach', device, filter };
    }
  }
}
