// SPDX-License-Identifier: MIT
//
// What watchDevices() tells of devices that come and go, are cut into partitions, mounted and filtered. The truth about the
// kernel's messages is another program that reads them (test/guest/uevents.c).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { open, watchDevices, type AddEvent, type DeviceEvent } from 'blkfilter';

import { attribute, dmCreate, dmRemove, partition, unpartition } from './support/devices.js';
import { Nulls } from './support/nulls.js';
import { plug, unplug, unplugAll } from './support/plug.js';
import { run, sh, until } from './support/run.js';
import { Messages, Watching, nudge, short } from './support/watching.js';

const ROUNDS = Number(process.env.BLKFILTER_ROUNDS ?? 50);
const POINT = '/run/watched';
const STORM = '/run/storm';

async function attach(path: string): Promise<void> {
  const device = await open(path);
  await device.attach('cbt');
  await device.close();
}

async function detach(path: string): Promise<void> {
  const device = await open(path);
  await device.detach('cbt');
  await device.close();
}

/** That what is done is told as it should be, and nothing else is. */
async function step(watching: Watching, expected: string[], act: () => unknown): Promise<void> {
  await act();
  assert.deepEqual(await watching.next(expected.length), expected);
}

describe('watchDevices()', () => {
  before(() => mkdirSync(POINT));
  after(() => {
    rmdirSync(POINT);
  });

  it('tells first what is there', async (t) => {
    run('mkfs.ext4', '-q', '-F', '/dev/sdb');
    run('mount', '-o', 'ro', '/dev/sdb', POINT);
    await attach('/dev/sdb');
    t.after(async () => {
      await detach('/dev/sdb');
      run('umount', POINT);
    });
    const { present } = await Watching.start(t);
    const added = present.filter(({ event }) => event === 'add').map(short);
    assert.deepEqual(added.sort(), readdirSync('/sys/class/block').map((name) => `add ${name}`).sort());
    const [add, attached, mount] = present.filter((event) => 'device' in event && event.device.name === 'sdb');
    assert.ok(add?.event === 'add');
    const { device } = add;
    assert.deepEqual(device, {
      name: 'sdb',
      path: '/dev/sdb',
      major: 8,
      minor: 16,
      diskSequence: attribute('sdb', 'diskseq'),
      sectors: attribute('sdb', 'size'),
      readOnly: false,
      removable: false,
      serial: 'blkfilter-1',
    });
    assert.deepEqual(attached, { event: 'attach', device, filter: 'cbt', present: true });
    assert.deepEqual(mount, {
      event: 'mount',
      device,
      mount: { path: POINT, type: 'ext4', root: '/', readOnly: true },
      present: true,
    });
  });

  it(`tells what happens to disks, exactly, in ${ROUNDS} rounds`, async (t) => {
    let path = '';
    t.after(async () => {
      if (existsSync('/sys/module/scsi_debug')) await unplugAll(path);
    });
    const messages = await Messages.start(t);
    const watching = await Watching.start(t);
    for (let round = 0; round < ROUNDS; round++) {
      path = await plug();
      const disk = basename(path);
      const [one, two] = [`${disk}1`, `${disk}2`];
      await step(watching, [`add ${disk}`], () => undefined);
      const { serial, wwid } = (watching.events.at(-1) as AddEvent).device;
      const folder = `/sys/block/${disk}/device`;
      assert.equal(wwid, readFileSync(`${folder}/wwid`, 'utf8').trim());
      assert.equal(serial, readFileSync(`${folder}/vpd_pg80`).subarray(4).toString());
      await step(watching, [`change ${disk}`, `add ${one}`, `add ${two}`], () => partition(path, 2048, 32, 16));
      await step(watching, [], () => run('mkfs.ext4', '-q', `/dev/${one}`));
      await step(watching, [`mount ${one} ${POINT}`], () => run('mount', `/dev/${one}`, POINT));
      await step(watching, [`mount ${one} ${POINT}`], () => run('mount', '-o', 'remount,ro', POINT));
      await step(watching, [`attach ${one} cbt`], () => attach(`/dev/${one}`));
      await step(watching, [`attach ${disk} cbt`], () => attach(path));
      await step(watching, [`detach ${one} cbt`], () => detach(`/dev/${one}`));
      await step(watching, [`umount ${one} ${POINT}`], () => run('umount', POINT));
      await step(watching, [`remove ${one}`, `remove ${two}`], () => unpartition(path));
      await step(watching, [`remove ${disk}`], () => unplug(path));
      await unplugAll(path);

      let nulls: Nulls | undefined;
      await step(watching, ['add nullb0'], () => (nulls = new Nulls(1)));
      await step(watching, [], () => run('mkfs.ext4', '-q', '/dev/nullb0'));
      await step(watching, [`mount nullb0 ${POINT}`], () => run('mount', '/dev/nullb0', POINT));
      await step(watching, [`umount nullb0 ${POINT}`], () => run('umount', POINT));
      await step(watching, ['remove nullb0'], () => nulls?.powerOff());
      nulls?.remove();
    }
    // All that the kernel said, no more and no less.
    const told = watching.events.flatMap((event) => {
      if (!('sequence' in event)) return [];
      const action = 'filter' in event ? 'change' : event.event;
      return [{ action, name: event.device.name, sequence: event.sequence }];
    });
    await messages.upTo(told.at(-1)?.sequence ?? Infinity);
    assert.deepEqual(told, messages.all);
  });

  it(`loses nothing between what is there and what happens, in ${ROUNDS} rounds`, async (t) => {
    const nulls = new Nulls(1);
    partition('/dev/sdb', 2048, 32, 16);
    const names = ['nullb0', 'sdb1', 'sdb2'];
    t.after(() => {
      nulls.remove();
      unpartition('/dev/sdb');
    });
    for (let round = 0; round < ROUNDS; round++) {
      const messages = await Messages.start(t);
      const before = new Set(readdirSync('/sys/class/block'));
      writeFileSync(STORM, '');
      const storm = spawn(
        'sh',
        ['-c', `while [ -e ${STORM} ]; do echo 0 > power; blockdev --rereadpt /dev/sdb; echo 1 > power; done`],
        { cwd: '/sys/kernel/config/nullb/nullb0', stdio: 'inherit' },
      );
      await sleep(50 * Math.random());
      const watching = await Watching.start(t);
      await sleep(100);
      rmSync(STORM);
      await once(storm, 'exit');
      nudge();
      await until('the end', () => watching.events.filter((event) => short(event) === 'change sda').length === 2);
      await watching.stop();
      await messages.upTo((watching.events.at(-1) as { sequence: number }).sequence);
      messages.stop();
      for (const name of names) {
        const of = (events: DeviceEvent[]) =>
          events.flatMap((one) => ((one.event === 'add' || one.event === 'remove') && one.device.name === name ? [one] : []));
        const truth = messages.all.filter((one) => one.name === name && one.action !== 'change');
        const told = of(watching.events).map(({ event, sequence }) => ({ action: event, name, sequence }));
        assert.deepEqual(told, told.length ? truth.slice(-told.length) : []);
        const untold = truth.slice(0, truth.length - told.length);
        const there = untold.length ? untold.at(-1)?.action === 'add' : before.has(name);
        assert.equal(of(watching.present).length, there ? 1 : 0, `${name}: ${JSON.stringify({ truth, told })}`);
      }
    }
  });

  it('tells what a device-mapper device becomes, and that it is removed once', async (t) => {
    const watching = await Watching.start(t);
    const name = basename(dmCreate('watched', '0 2048 linear /dev/sda 0'));
    await step(watching, [`add ${name}`, `change ${name}`], () => undefined);
    await step(watching, [`change ${name}`], () =>
      sh(`echo '0 4096 linear /dev/sda 0' | dmsetup load watched; dmsetup resume watched`),
    );
    const resized = watching.events.at(-1);
    assert.ok(resized?.event === 'change');
    assert.deepEqual([resized.about, resized.was, resized.device.sectors], ['size', { sectors: 2048 }, 4096]);
    await step(watching, [`remove ${name}`], () => dmRemove('watched'));
    nudge();
    assert.deepEqual(await watching.next(1), ['change sda']);
  });

  it('tells online and offline as they are said, and takes no other word for what is there', async (t) => {
    const watching = await Watching.start(t);
    for (const action of ['offline', 'online', 'remove', 'add']) writeFileSync('/sys/block/sda/uevent', action);
    nudge();
    assert.deepEqual(await watching.next(3), ['offline sda', 'online sda', 'change sda']);
  });

  it('says when it was not read in time, and then what is different', async (t) => {
    const nulls = new Nulls(2);
    sh('echo 0 > /sys/kernel/config/nullb/nullb1/power');
    const events = watchDevices({ buffer: '8KiB' });
    t.after(async () => {
      await events.return(undefined);
      await detach('/dev/sda');
      nulls.powerOff();
      nulls.remove();
    });
    const next = async (): Promise<DeviceEvent> => (await events.next()).value as DeviceEvent;
    await next();
    nudge('nullb0');
    while (short(await next()) !== 'change nullb0');
    // Nobody asks for the next one now.
    for (let i = 0; i < 1000; i++) nudge();
    sh('echo 1 > /sys/kernel/config/nullb/nullb1/power; echo 0 > /sys/kernel/config/nullb/nullb0/power');
    await attach('/dev/sda');
    let one = await next();
    while (one.event !== 'overrun') {
      assert.equal(short(one), 'change sda');
      one = await next();
    }
    const differences = [await next(), await next(), await next()].map(short);
    assert.deepEqual(differences, ['remove nullb0', 'add nullb1', 'attach sda cbt']);
    nudge('nullb1');
    assert.equal(short(await next()), 'change nullb1');
  });

  it('lets the process end, however watching ends', () => {
    const script = `
      import { watchDevices } from 'blkfilter';
      for await (const one of watchDevices()) break;
      try { for await (const one of watchDevices({ signal: AbortSignal.timeout(500) })); } catch (e) { console.log(e.name); }
      const events = watchDevices();
      const all = (async () => { for await (const one of events); })();
      setTimeout(() => events.return(), 500);
      await all;
      console.log('returned');`;
    assert.equal(run('timeout', '60', 'node', '--input-type=module', '-e', script), 'TimeoutError\nreturned\n');
  });
});

describe('blkfilter watch', () => {
  it('prints a line an event, for anyone, until it is interrupted', async (t) => {
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const child = spawn('env', [...user, 'blkfilter', 'watch', '--json', '--events', 'change,attach'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill());
    const lines: string[] = [];
    createInterface(child.stdout).on('line', (line) => lines.push(line));
    await until('it to watch', () => {
      nudge();
      return lines.length > 0;
    });
    await attach('/dev/sda');
    await until('the event', () => lines.some((line) => line.includes('"attach"')));
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'exit'), [0, null]);
    const events = lines.map((line) => short(JSON.parse(line) as DeviceEvent));
    assert.deepEqual([events[0], events.at(-1)], ['change sda', 'attach sda cbt']);
    await detach('/dev/sda');
  });
});
