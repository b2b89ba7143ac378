// SPDX-License-Identifier: MIT
//
// guard as a write blocker beside the kernel's own flag: from a disk's first request on, and what each of the two stops. The
// truth is the disk's content, the kernel's statistics, and what the programs that write are told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { after, afterEach, before, describe, it } from 'node:test';

import { open, readOnly, rules, type AttachRule, type GuardRule } from 'blkfilter';

import { attribute, dmCreate, dmRemove, filters, partition, unpartition } from './support/devices.js';
import { plug, unplugAll } from './support/plug.js';
import { attempt, run, sh } from './support/run.js';
import { loadWitness, statistics, unloadWitness } from './support/witness.js';

const DISK = '/dev/sda';
const FOLDER = '/run/mnt';

/** All changes that there are, but by name: the disk is not marked read-only. */
const changes: GuardRule = {
  action: 'deny',
  operations: ['write', 'discard', 'secure-erase', 'write-zeroes', 'zone-append', 'zone-finish', 'zone-reset', 'other'],
  error: 'EIO',
};
const readOnlyOf = (...devices: string[]): number[] => devices.map((device) => attribute(device, 'ro'));
const deviceRules = async (path: string, ...rules: GuardRule[]): Promise<void> => {
  await using device = await open(path);
  const attached = filters(path).includes('guard');
  await (attached ? (await device.filter('guard')).setRules({ rules }) : device.attach('guard', { rules }));
};
const detach = (path: string): string => run('blkfilter', 'detach', path, 'guard');

describe('a write blocker', () => {
  before(() => void sh(`modprobe -a blkfilter_guard; mkdir -p ${FOLDER}`));
  after(() => assert.equal(sh('cat /sys/class/block/*/filter'), ''));

  describe('by a rule', () => {
    let plugged = '/dev/sdd';
    afterEach(async () => {
      for (const rule of await rules.list()) await rules.remove(rule);
      if (existsSync('/sys/module/scsi_debug')) await unplugAll(plugged);
    });

    /** Writes as soon as the node is there, and again and again. */
    function writeAtOnce(path: string): Promise<string> {
      const line = `while ! [ -b ${path} ]; do :; done
        for i in $(seq 8); do dd if=/dev/urandom of=${path} bs=4k count=16 oflag=direct status=none 2>&1 && echo written; done`;
      const child = spawn('sh', ['-c', line], { stdio: ['ignore', 'pipe', 'ignore'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
      return new Promise((resolve) => child.on('close', () => resolve(output)));
    }

    const blocking: [what: string, rule: GuardRule, told: RegExp, marked: number][] = [
      ['and marked', readOnly, /Operation not permitted/, 1],
      ['by guard alone', changes, /Input\/output error/, 0],
    ];
    for (const [what, rule, told, marked] of blocking) {
      it(`a disk that is plugged in is blocked before its first request, ${what}`, async () => {
        await rules.add({ filter: 'guard', name: 'sdd', options: { rules: [rule] } });
        const writer = writeAtOnce(plugged);
        assert.equal(await plug(), plugged);
        const output = await writer;
        assert.match(output, told);
        assert.doesNotMatch(output, /written/);
        assert.deepEqual(readOnlyOf(plugged), [marked]);
        // A new disk of scsi_debug is all zeroes.
        assert.equal(statistics(plugged).written, 0);
        sh(`dd if=${plugged} iflag=direct bs=1M status=none | cmp -n 67108864 - /dev/zero`);
        await using device = await open(plugged);
        const [first] = (await (await device.filter('guard')).counters()).rules;
        assert.equal(first?.applied !== 0, !marked);
      });
    }

    it('so are its partitions, and by the preset for all disks but some', async () => {
      // scsi_debug's serial numbers are thousands.
      const preset = (serial: string): AttachRule => ({ filter: 'guard', kind: 'disk', except: { serial: [serial] }, options: { rules: [readOnly] } });
      await rules.add(preset('no-such'));
      plugged = await plug('num_parts=2');
      const all = [plugged, `${plugged}1`, `${plugged}2`];
      assert.deepEqual(readOnlyOf(...all), [1, 1, 1]);
      assert.deepEqual(all.map(filters), [['guard'], [], []]);
      run('blockdev', '--rereadpt', plugged);
      assert.deepEqual(readOnlyOf(...all), [1, 1, 1]);
      const virtual = dmCreate('own', `0 65536 linear ${DISK} 0`);
      assert.deepEqual(readOnlyOf(virtual), [0]);
      dmRemove('own');
      await unplugAll(plugged);

      await rules.remove(preset('no-such'));
      await rules.add(preset('*000'));
      plugged = await plug('num_parts=2');
      assert.deepEqual(readOnlyOf(...all), [0, 0, 0]);
      assert.deepEqual(all.map(filters), [[], [], []]);
    });

    it('where it cannot be attached, the disk is marked all the same, and the log says so', async () => {
      // It has the altitude of guard, and is asked first.
      run('rmmod', 'blkfilter_guard');
      loadWitness({ first: 100_000 });
      run('modprobe', 'blkfilter_guard');
      await rules.add({ filter: 'first', name: 'sdd' });
      await rules.add({ filter: 'guard', name: 'sdd', options: { rules: [readOnly] } });
      plugged = await plug();
      assert.deepEqual(filters(plugged), ['first']);
      assert.deepEqual(readOnlyOf(plugged), [1]);
      assert.match(sh('dmesg'), /sdd: guard could not be attached \(-16\)\n.*sdd: no filter denies writes\. It was marked read-only/);
      for (const rule of await rules.list()) await rules.remove(rule);
      await unplugAll(plugged);
      unloadWitness();
    });
  });

  describe('marks its device read-only', () => {
    const parts = [`${DISK}1`, `${DISK}2`];
    before(() => {
      partition(DISK, 2048, 40, 40);
    });
    after(() => {
      unpartition(DISK);
    });

    it('a disk with its partitions, as long as the rules deny every change', async () => {
      const all = [DISK, ...parts];
      const sets: [GuardRule[], boolean][] = [
        [[readOnly], true],
        [[], false],
        [[{ action: 'deny' }], true],
        [[{ action: 'delay', operations: ['read', 'flush'], delay: 1 }, readOnly], true],
        [[{ action: 'deny', operations: ['write'], range: { sector: 0, count: 8 } }, readOnly, { action: 'pass' }], true],
        [[changes], false],
        [[{ action: 'pass', operations: ['discard'] }, readOnly], false],
        [[{ action: 'delay', operations: ['write'], delay: 1, pid: 1 }, readOnly], false],
        [[{ ...readOnly, range: { sector: 8 } }], false],
        [[{ ...readOnly, chance: 0.5 }], false],
        [[{ ...readOnly, pid: 1 }], false],
        [[readOnly], true],
      ];
      for (const [set, marked] of sets) {
        await deviceRules(DISK, ...set);
        assert.deepEqual(readOnlyOf(...all), all.map(() => Number(marked)), JSON.stringify(set));
      }
      run('blockdev', '--rereadpt', DISK);
      assert.deepEqual(readOnlyOf(...all), [1, 1, 1]);
      detach(DISK);
      assert.deepEqual(readOnlyOf(...all), [0, 0, 0]);
      await using device = await open(DISK);
      const guard = await device.attach('guard', { default: { action: 'deny' } });
      assert.deepEqual(readOnlyOf(...all), [1, 1, 1]);
      await guard.detach();
    });

    it('a partition alone, and the one that a rescan puts in its place', async () => {
      await deviceRules(`${DISK}1`, readOnly);
      assert.deepEqual(readOnlyOf(DISK, ...parts), [0, 1, 0]);
      run('blockdev', '--rereadpt', DISK);
      assert.deepEqual(readOnlyOf(DISK, ...parts), [0, 1, 0]);
      detach(`${DISK}1`);
      assert.deepEqual(readOnlyOf(DISK, ...parts), [0, 0, 0]);
    });

    it('what was read-only before stays so', async () => {
      run('blockdev', '--setro', DISK);
      await deviceRules(DISK, readOnly);
      await deviceRules(DISK);
      assert.deepEqual(readOnlyOf(DISK), [1]);
      await deviceRules(DISK, readOnly);
      detach(DISK);
      assert.deepEqual(readOnlyOf(DISK), [1]);
      run('blockdev', '--setrw', DISK);

      // Somebody takes the mark away, and the same rules bring it back.
      await deviceRules(DISK, readOnly);
      run('blockdev', '--setrw', DISK);
      assert.deepEqual(readOnlyOf(DISK), [0]);
      assert.equal(attempt('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=4k', 'count=1', 'oflag=direct').status, 1);
      await deviceRules(DISK, readOnly);
      assert.deepEqual(readOnlyOf(DISK), [1]);
      detach(DISK);
      assert.deepEqual(readOnlyOf(DISK), [0]);

      // Its driver knows it as write-protected.
      const disk = await plug('wp=1');
      await deviceRules(disk, readOnly);
      detach(disk);
      assert.deepEqual(readOnlyOf(disk), [1]);
      await unplugAll(disk);
    });
  });

  // What docs/guard.md has in a table.
  describe('beside the flag', () => {
    const protections = {
      flag: { on: () => void run('blockdev', '--setro', DISK), off: () => void run('blockdev', '--setrw', DISK) },
      guard: { on: () => deviceRules(DISK, changes), off: () => void detach(DISK) },
      both: { on: () => deviceRules(DISK, readOnly), off: () => void detach(DISK) },
    };
    type Name = keyof typeof protections;

    const make = {
      ext4: `mkfs.ext4 -qF -E lazy_itable_init=0 ${DISK} 64M`,
      xfs: `modprobe -q xfs || true; mkfs.xfs -qf -d size=320m ${DISK}`,
    };
    const mounted = { before: `${make.ext4}; mount ${DISK} ${FOLDER}; head -c 4M /dev/urandom > ${FOLDER}/file; sync; rm ${FOLDER}/file`, after: `umount ${FOLDER}` };
    interface Case {
      title: string;
      before?: string;
      /** Writes. */
      line: string;
      after?: string;
      /** Those that let the write reach the disk. */
      passedBy: Name[];
    }
    const cases: Case[] = [
      { title: 'a write to its node', line: `dd if=/dev/urandom of=${DISK} bs=4k count=4 oflag=direct`, passedBy: [] },
      { title: 'a discard of its sectors', line: `blkdiscard -f -l 1M ${DISK}`, passedBy: [] },
      { title: 'a file system that is mounted for writing', before: make.ext4, line: `mount ${DISK} ${FOLDER}; touch ${FOLDER}/file; sync`, after: `umount ${FOLDER}`, passedBy: [] },
      { title: 'one that was so before', ...mounted, line: `head -c 1M /dev/urandom > ${FOLDER}/new; sync -f ${FOLDER}`, passedBy: ['flag'] },
      {
        title: 'a device-mapper device',
        before: `dmsetup create above --table '0 65536 linear ${DISK} 0'; dmsetup mknodes above`,
        line: 'dd if=/dev/urandom of=/dev/mapper/above bs=4k count=4 oflag=direct',
        after: 'dmsetup remove --retry above',
        passedBy: ['flag'],
      },
      {
        title: 'fstrim of a file system that is mounted read-only',
        before: `${mounted.before}; umount ${FOLDER}; mount -o ro ${DISK} ${FOLDER}`,
        line: `fstrim ${FOLDER}`,
        after: mounted.after,
        // 6.1 asks for the flag before it discards.
        passedBy: release().startsWith('6.1.') ? [] : ['flag'],
      },
    ];
    const discarded = (): number => attribute(DISK, 'queue/discard_max_bytes');

    for (const { title, before: prepare, line, after: clear, passedBy } of cases) {
      it(`${title}: ${passedBy.length ? 'not the flag, but guard' : 'each of the two'} stops it`, async (test) => {
        if (/discard|fstrim/.test(title) && !discarded()) return test.skip('the disk has no discard');
        for (const [name, { on, off }] of Object.entries(protections)) {
          if (prepare) sh(`mkdir -p /dev/mapper; ${prepare}`);
          sh('sync');
          await on();
          const { written } = statistics(DISK);
          attempt('sh', '-uc', line);
          assert.equal(statistics(DISK).written > written, passedBy.includes(name as Name), `${title}, ${name}`);
          off();
          if (clear) attempt('sh', '-uc', clear);
          sh(`wipefs -qaf ${DISK}`);
        }
      });
    }

    it('a clean xfs can be mounted read-only with both, and not by guard alone', async () => {
      sh(`${make.xfs}; mount ${DISK} ${FOLDER}; echo here > ${FOLDER}/file; umount ${FOLDER}`);
      const { written } = statistics(DISK);
      const mount = () => attempt('mount', '-t', 'xfs', '-o', 'ro', DISK, FOLDER).status;
      await deviceRules(DISK, changes);
      assert.notEqual(mount(), 0);
      run('blockdev', '--flushbufs', DISK);
      await deviceRules(DISK, readOnly);
      assert.equal(mount(), 0);
      assert.equal(sh(`cat ${FOLDER}/file; umount ${FOLDER}`), 'here\n');
      detach(DISK);
      assert.equal(statistics(DISK).written, written);
      sh(`wipefs -qaf ${DISK}`);
    });
  });
});
