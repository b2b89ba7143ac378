// SPDX-License-Identifier: MIT
// Watching without a kernel: messages, the order of looks and messages, mount tables.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { parseMounts } from '#lib/mounts.js';
import { native } from '#lib/native.js';
import { Devices } from '#lib/watch/devices.js';
import { Mounts } from '#lib/watch/mounts.js';
import { ueventOf } from '#lib/watch/uevents.js';

describe('a message', () => {
  const decode = (...parts: string[]) => native().uevents.decode(Buffer.from(parts.join('\0')));

  it('is decoded, with or without its last NUL', () => {
    const variables = { ACTION: 'add', SUBSYSTEM: 'block', EMPTY: '', EQUALS: 'a=b' };
    const parts = ['add@/x', ...Object.entries(variables).map(([key, value]) => `${key}=${value}`)];
    assert.deepEqual(decode(...parts), variables);
    assert.deepEqual(decode(...parts, ''), variables);
  });

  it('of anything else is left out', () => {
    assert.equal(decode('add@/x', 'SUBSYSTEM=net'), null);
    fc.assert(fc.property(fc.uint8Array(), (bytes) => native().uevents.decode(bytes) === null));
  });
});

describe('devices', () => {
  // What a kernel does to one disk: each step changes what is seen and then sends a message.
  it('are told from any first look on as one after the other', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(12), fc.nat(12), fc.nat(12), async (all, first, queued) => {
        const messages = Array.from({ length: all }, (_, i) =>
          ueventOf({
            ACTION: i % 2 ? 'remove' : 'add',
            DEVPATH: '/block/x',
            SEQNUM: String(i),
            MAJOR: '1',
            MINOR: '0',
            DEVNAME: 'x',
            DISKSEQ: String(1 + (i >> 1)),
          }),
        );
        // The look sees what came of so many; the socket was open since some of them.
        let done = Math.min(first, all);
        const device = () => ({ name: 'x', path: '/dev/x', major: 1, minor: 0, diskSequence: 1 + ((done - 1) >> 1) });
        const devices = new Devices({
          names: () => Promise.resolve(['x']),
          look: () => Promise.resolve(done % 2 ? { device: device(), filters: [] } : undefined),
        });
        const told: string[] = [];
        for await (const { event } of devices.lookAround({ present: true })) told.push(event);
        const since = messages.slice(Math.min(queued, done));
        done = all;
        for await (const { event } of devices.apply(since)) told.push(event);
        assert.deepEqual(told, told.map((_, i) => (i % 2 ? 'remove' : 'add')));
        assert.equal(devices.get('x') !== undefined, all % 2 === 1);
      }),
    );
  });
});

describe('mounts', () => {
  const line = (id: number, path: string, options = 'rw') =>
    `${id} 1 8:1 / ${path} ${options} shared:1 - ext4 /dev/sda1 rw\n`;
  const device = { name: 'sda1', path: '/dev/sda1', major: 8, minor: 1, diskSequence: 1 };

  it('are told as the table differs', async () => {
    const mounts = new Mounts(() => Promise.resolve('sda1'), () => device);
    const read = async (text: string): Promise<string[]> => {
      const table = parseMounts(text);
      const told = [...mounts.unmounted(table)];
      for await (const event of mounts.mounted(table)) told.push(event);
      return told.map(({ event, mount, remount }) => [event, mount.path, mount.readOnly, remount].join(' ').trim());
    };
    assert.deepEqual(await read(line(20, '/a\\040b') + line(21, '/c')), ['mount /a b false', 'mount /c false']);
    assert.deepEqual(await read(line(20, '/a\\040b', 'ro') + line(21, '/c')), ['mount /a b true true']);
    assert.deepEqual(await read(line(20, '/d')), ['umount /c false', 'umount /a b true', 'mount /d false']);
    assert.deepEqual(await read(line(20, '/d')), []);
  });
});
