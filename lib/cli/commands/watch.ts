// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { SECTOR_SIZE, formatSize, watchDevices, type DeviceEvent } from '../../index.js';
import { example } from '../example.js';
import { endless } from '../interrupt.js';
import { write, type OutputOptions } from '../output.js';

const names = ['add', 'change', 'remove', 'online', 'offline', 'mount', 'umount', 'attach', 'detach'] as const;

type Name = (typeof names)[number];

interface WatchFlags extends OutputOptions {
  events?: Name[];
}

/** What a line says besides the event and the device. */
function detailsOf(event: DeviceEvent): string[] {
  switch (event.event) {
    case 'overrun':
      return ['the kernel had more to tell than there was room for; what is different now follows'];
    case 'attach':
    case 'detach':
      return [event.filter];
    case 'mount':
    case 'umount': {
      const { path, type, readOnly } = event.mount;
      return [path, type, readOnly ? 'read-only' : '', event.event === 'mount' && event.remount ? 'remounted' : ''];
    }
    case 'add': {
      const { sectors, readOnly, serial, wwid, partition } = event.device;
      return [
        sectors === undefined ? '' : formatSize(sectors * SECTOR_SIZE),
        readOnly ? 'read-only' : '',
        partition ? `partition ${partition.number} of ${partition.disk}` : '',
        partition?.label ?? '',
        partition?.partuuid ?? '',
        serial === undefined ? '' : `serial ${serial.trim()}`,
        wwid ?? '',
      ];
    }
    case 'change': {
      const { device, about, was = {} } = event;
      const differences = Object.keys(was).map((key) => {
        const [before, now] = [was, device].map((values) => String(values[key as 'sectors'])) as [string, string];
        return `${key} ${before} -> ${now}`;
      });
      return [about ?? '', ...differences];
    }
    default:
      return [];
  }
}

function textOf(event: DeviceEvent): string {
  const { name, major, minor } = event.event === 'overrun' ? {} : event.device;
  const present = 'present' in event ? 'present' : '';
  const columns = [event.event.padEnd(8), present.padEnd(8), (name ?? '').padEnd(12), name ? `${major}:${minor}`.padEnd(8) : ''];
  return [...columns, ...detailsOf(event)].filter((word) => word !== '').join(' ').trimEnd();
}

async function watch({ json, events }: WatchFlags): Promise<void> {
  const wanted = new Set<string>(events ?? names).add('overrun');
  await endless(async (signal) => {
    for await (const event of watchDevices({ signal })) {
      if (wanted.has(event.event)) await write(`${json ? JSON.stringify(event) : textOf(event)}\n`);
    }
  });
}

const isName = (text: string): text is Name => (names as readonly string[]).includes(text);

function parseEvents(text: string): Name[] {
  const words = text.split(',');
  if (!words.every(isName)) throw new InvalidArgumentError(`They are some of ${names.join(',')}.`);
  return words;
}

export function addWatch(program: Command): void {
  const command = program
    .command('watch')
    .description('show the devices, mounts and filters that are there, and then what happens to them')
    .option('--events <names>', 'only these, such as add,remove; all unless told', parseEvents)
    .option('--json', 'print JSON, an object a line')
    .action(watch);
  example(command, 'blkfilter watch --events add,remove,mount,umount --json');
}
