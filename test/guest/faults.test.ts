// SPDX-License-Identifier: MIT
//
// Memory that cannot be had, user memory that cannot be read, and disks that fail: each at every place where it can
// happen. Afterwards what failed has not been done, what succeeded has, and nothing is left behind.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, it, type TestContext } from 'node:test';

import { open } from 'blkfilter';

import { dmCreate, dmRemove, partition, scatter, unpartition } from './support/devices.js';
import { collected, rounded, union } from './support/extents.js';
import { FILTERS, loadModules, unloadModules } from './support/modules.js';
import { race, references } from './support/race.js';
import { program, run, sh, until } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness } from './support/witness.js';

const DISK = '/dev/sda';
const PARTED = '/dev/sdb';
const BLOCK = 4096;
const BLOCK_SECTORS = BLOCK / 512;

const debugfs = '/sys/kernel/debug';
const kinds = ['failslab', 'fail_page_alloc', 'fail_usercopy', 'fail_make_request'] as const;
type Kind = (typeof kinds)[number];

const missing = [...kinds.map((kind) => `${debugfs}/${kind}`), '/proc/thread-self/fail-nth'].filter((path) => !existsSync(path));
const skip = missing.length > 0 && `this kernel injects no faults: it has no ${missing.join(', ')}`;

/** With many rounds all places where loading may fail, which takes many minutes; else some of them. */
const STRIDE = Number(process.env.BLKFILTER_ROUNDS ?? 30) >= 1000 ? 1 : 17;

function configure(kind: Kind, settings: Record<string, string | number>): void {
  for (const [key, value] of Object.entries(settings)) {
    const file = `${debugfs}/${kind}/${key}`;
    if (existsSync(file)) writeFileSync(file, String(value));
  }
}

/** Of every so many-th occasion. */
const fail = (kind: Kind, probability: number): void => configure(kind, { probability, interval: 1, times: -1, space: 0 });
const failNoMore = (): void => {
  for (const kind of kinds) fail(kind, 0);
};

interface Step {
  site: number;
  result: string;
  state: boolean;
}

/** Walks all places of a call where it may fail (test/guest/fault.c). */
function walk(t: TestContext, results: string, stride: number, ...what: string[]): Step[] {
  const steps = run(program('fault'), String(stride), ...what)
    .trim()
    .split('\n')
    .map((line) => {
      const [site, result = '', state] = line.split(' ');
      return { site: Number(site), result, state: state === '1' };
    });
  const failures = steps.filter(({ result }) => result !== '0');
  t.diagnostic(`${what.join(' ')}: ${steps.length} places, ${failures.length} failures`);
  assert.ok(steps.length > 2, 'no faults were injected');
  const strange = steps.filter(({ result }) => !['0', ...results.split(' ')].includes(result));
  assert.deepEqual(strange, []);
  return steps;
}

/** That a call did what it says, and all of it. */
function allOrNothing(steps: Step[]): void {
  assert.deepEqual(steps.filter(({ result, state }) => state !== (result === '0')), []);
  assert.equal(steps.at(-1)?.result, '0', 'it fails without a fault');
}

describe('faults', { skip }, () => {
  before(() => {
    for (const kind of kinds) configure(kind, { verbose: 0 });
    configure('failslab', { 'ignore-gfp-wait': 'N' });
    // Of single pages: those that refill the slabs come at other places each time, and hide what failslab would find.
    configure('fail_page_alloc', { 'min-order': 1 });
  });
  beforeEach(() => loadWitness({ slow: 100 }, { sleeps: 200 }));
  afterEach(async () => {
    failNoMore();
    assert.equal(sh('cat /sys/class/block/*/filter'), '');
    assert.equal(liveWitnesses(), 0);
    await until('references to be given back', () => [...FILTERS, 'blkfilter_witness'].every((name) => references(name) === 0));
    unloadWitness();
  });

  for (const filter of ['cbt', 'guard', 'trace', 'slow']) {
    it(`attach ${filter}: it is attached, or not, as it says`, (t) => {
      allOrNothing(walk(t, 'ENOMEM EFAULT', 1, 'attach', DISK, filter));
    });

    it(`detach ${filter}: likewise`, (t) => {
      const steps = walk(t, 'ENOMEM EFAULT', 1, 'detach', DISK, filter);
      assert.deepEqual(steps.filter(({ result, state }) => state !== (result !== '0')), []);
      sh(`test -z "$(cat /sys/block/sda/filter)" || ${program('raw-ioctl')} ${DISK} detach ${filter}`);
    });
  }

  it('attach to a device-mapper device, which is suspended for it', (t) => {
    const path = dmCreate('faulty', `0 65536 linear ${PARTED} 0`);
    allOrNothing(walk(t, 'ENOMEM EFAULT', 1, 'attach', path, 'cbt'));
    dmRemove('faulty');
  });

  const commands: Record<string, [string, string, ...string[]][]> = {
    cbt: [
      ['2', '8', '4096'], // configure
      ['1', '56'], // info
      ['7', '56', '0', '0', '0', '0', '0', '@', '128'], // epochs
      ['8', '88', '0', '0', '1', '110'], // epoch 1 gets the name "n"
      ['3', '24'], // checkpoint
      ['4', '64', '0', '0', '1', '0', '0', '0', '@', '16'], // changes since 1
      ['5', '64', '0', '0', '1', '0', '0', '1024', '@', '1024'], // bitmap since 1
      ['6', '16', '0', '8'], // mark
    ],
    guard: [
      ['1', '32', '0', '0', String(2 ** 32)], // no rules, the default is to pass
      ['2', '32', '@', '@', '1024'], // get them
    ],
    trace: [
      ['1', '112', '65536'], // configure
      ['2', '8'], // open
    ],
  };
  for (const [filter, calls] of Object.entries(commands)) {
    it(`${filter}'s commands`, async (t) => {
      await using device = await open(DISK);
      await device.attach(filter);
      for (const call of calls) {
        // cbt is configured once, and there is one stream: a fault may come too late to undo that, or do no harm.
        const once = call[0] === '2' && filter !== 'guard';
        const results = once ? 'ENOMEM EFAULT EBUSY' : 'ENOMEM EFAULT';
        const steps = walk(t, results, 1, 'ctl', DISK, filter, ...call);
        assert.ok(steps.every(({ state }) => state), 'it is gone');
      }
      await device.detach(filter);
    });
  }

  it('attach rules', (t) => {
    const rules = '/sys/module/blkfilter/parameters/rules';
    const rule = 'cbt name=nothing* partuuid=0';
    allOrNothing(walk(t, 'ENOMEM EFAULT', 1, 'write', rules, `add ${rule}`, `remove ${rule}`));
    assert.equal(sh(`cat ${rules}`), '');
  });

  it('partitions that appear, with a rule for them, and those that are read anew, with filters', (t) => {
    const rules = '/sys/module/blkfilter/parameters/rules';
    partition(PARTED, 2048, 8, 8);
    writeFileSync(rules, 'add cbt name=sdb*');
    // A device without a name is invalid to the kernel, even where it had no memory for the name.
    walk(t, 'ENOMEM EFAULT EINVAL', 1, 'part', PARTED, '5', '64');
    for (const filter of ['cbt', 'slow']) {
      run(program('raw-ioctl'), `${PARTED}1`, 'attach', filter);
    }
    // The kernel goes on without a partition that it has no memory for.
    walk(t, 'ENOMEM EFAULT', 1, 'reread', PARTED);
    writeFileSync(rules, 'remove cbt name=sdb*');
    unpartition(PARTED);
  });

  it('the loading of the modules', (t) => {
    unloadWitness();
    unloadModules();
    allOrNothing(walk(t, 'ENOMEM EFAULT', STRIDE, 'load', 'blkfilter'));
    run('modprobe', 'blkfilter');
    allOrNothing(walk(t, 'ENOMEM EFAULT', STRIDE, 'load', 'blkfilter_cbt'));
    loadModules();
    loadWitness({ slow: 100 }, { sleeps: 200 });
  });

  it('without memory for its map cbt reports too much, never too little', async (t) => {
    await using device = await open(DISK);
    const tracker = await device.attach('cbt', { blockSize: BLOCK });
    const sectors = await device.sectors();
    const changed = async (probability: number, seed: number) => {
      const { mark } = await tracker.checkpoint();
      // The map alone asks for pages without waiting; and of all tasks only the one that writes shall fail.
      configure('fail_page_alloc', { 'min-order': 0, 'ignore-gfp-wait': 'Y', 'task-filter': 'Y' });
      fail('fail_page_alloc', probability);
      const places = scatter(DISK, { how: 'direct', threads: 2, count: 60, max: 64 * 1024, seed }, { faults: true });
      failNoMore();
      configure('fail_page_alloc', { 'min-order': 1, 'task-filter': 'N' });
      return {
        truth: union(rounded(places, BLOCK_SECTORS, sectors)),
        reported: await collected(tracker.changes({ since: mark })),
        times: (await tracker.info()).overreported,
      };
    };
    let before = 0;
    for (const [seed, probability] of [100, 30, 70].entries()) {
      const { truth, reported, times } = await changed(probability, seed);
      t.diagnostic(`${probability} %: ${times - before} areas reported whole`);
      assert.ok(times > before, 'it had all the memory that it wanted');
      assert.deepEqual(union([...reported, ...truth]), reported, 'a change is missing');
      assert.notDeepEqual(reported, truth);
      before = times;
    }
    const { truth, reported, times } = await changed(0, 9);
    assert.deepEqual(reported, truth);
    assert.equal(times, before);
    await tracker.detach();
  });

  it('without memory for its events trace counts what it could not tell', async (t) => {
    await using device = await open(DISK);
    const trace = await device.attach('trace', { operations: ['write'], buffer: '4MiB' });
    const stream = await trace.open();
    // Events ask for memory without waiting; and only those of the task that writes shall fail.
    configure('failslab', { 'ignore-gfp-wait': 'Y', 'task-filter': 'Y' });
    fail('failslab', 30);
    const places = scatter(DISK, { how: 'direct', threads: 2, count: 200, max: 64 * 1024, seed: 5 }, { faults: true });
    failNoMore();
    configure('failslab', { 'ignore-gfp-wait': 'N', 'task-filter': 'N' });
    await trace.detach();
    let events = 0;
    for await (const { operation } of stream) events += Number(operation === 'write');
    t.diagnostic(`${events} events, ${stream.dropped} dropped`);
    assert.ok(events > 0 && stream.dropped > 0);
    assert.equal(events + stream.dropped, places.length);
  });

  it('writes that fail, while filters come and go', async (t) => {
    await using device = await open(DISK);
    const tracker = await device.attach('cbt', { blockSize: BLOCK });
    const sectors = await device.sectors();
    writeFileSync('/sys/block/sda/make-it-fail', '1');
    fail('fail_make_request', 10);
    const racing = race(30, `pair ${DISK} slow`);
    const { mark } = await tracker.checkpoint();
    const places = run(program('fault'), '1', 'io', DISK, '3000', '1').trim().split('\n').map((line) => {
      const [sector = NaN, count = NaN] = line.split(' ').map(Number);
      return { sector, count };
    });
    failNoMore();
    writeFileSync('/sys/block/sda/make-it-fail', '0');
    const results = await racing;
    assert.deepEqual(Object.keys({ ...results.attach, ...results.detach }), ['0']);
    t.diagnostic(`${3000 - places.length} of 3000 failed`);
    assert.ok(places.length > 0 && places.length < 3000);
    const truth = union(rounded(places, BLOCK_SECTORS, sectors));
    const reported = await collected(tracker.changes({ since: mark }));
    assert.deepEqual(union([...reported, ...truth]), reported, 'a change is missing');
    await tracker.detach();
  });
  after(() => failNoMore());
});
