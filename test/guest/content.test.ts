// SPDX-License-Identifier: MIT
//
// What gives a device other content without a bio on it: another table or file below it. What comes back with its memory,
// after hibernation or as a copy of a virtual machine, is tested by test/vm/memory.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import { markOf, open, type BlockDevice, type ChangeTracker } from 'blkfilter';

import { dmCreate, dmRemove, partition, unpartition } from './support/devices.js';
import { changedSince, collected } from './support/extents.js';
import { attempt, program, run, sh, until } from './support/run.js';

const MIB = 2048;
const SIZE = 64 * MIB;
const BLOCK = 128;

const contentOf = (path: string): string => sh(`dd if=${path} bs=1M iflag=direct status=none | md5sum`);
const writeBlock = (path: string, block: number): string =>
  sh(`dd if=/dev/urandom of=${path} bs=64K seek=${block} count=1 oflag=direct conv=notrunc status=none`);

/** A device that is tracked, and a mark of its state. */
class Tracked {
  private constructor(
    readonly path: string,
    readonly device: BlockDevice,
    readonly tracker: ChangeTracker,
    private generation: string,
    private epoch: number,
    private content: string,
  ) {}

  static async begin(path: string): Promise<Tracked> {
    const device = await open(path);
    const tracker = await device.attach('cbt');
    const { generation, epoch } = await tracker.checkpoint();
    return new Tracked(path, device, tracker, generation, epoch, contentOf(path));
  }

  async #mark(): Promise<void> {
    ({ generation: this.generation, epoch: this.epoch } = await this.tracker.checkpoint());
    this.content = contentOf(this.path);
  }

  /** What holds other content now began a new generation, and all of it counts as changed. */
  async isAnother(gap: string): Promise<void> {
    const { generation: old, epoch } = this;
    const info = await this.tracker.info();
    assert.notEqual(info.generation, old, 'the generation went on');
    assert.equal(info.gap, gap);
    assert.deepEqual(await changedSince(this.tracker, epoch), [{ sector: 0, count: info.sectors }]);
    await assert.rejects(collected(this.tracker.changes({ since: markOf({ generation: old, epoch }) })), { code: 'EGENERATION' });
    // From here on all is as usual.
    await this.#mark();
    writeBlock(this.path, 3);
    assert.deepEqual(await changedSince(this.tracker, this.epoch), [{ sector: 3 * BLOCK, count: BLOCK }]);
    await this.#mark();
    assert.equal((await this.tracker.info()).generation, info.generation);
  }

  /** What holds what it held goes on, with nothing changed but what has come after its end. */
  async isTheSame(grownFrom?: number): Promise<void> {
    const info = await this.tracker.info();
    assert.equal(info.generation, this.generation, `a new generation: ${info.gap}`);
    const grown = grownFrom === undefined ? [] : [{ sector: grownFrom, count: info.sectors - grownFrom }];
    assert.deepEqual(await changedSince(this.tracker, this.epoch), grown);
    if (grownFrom === undefined) assert.equal(contentOf(this.path), this.content);
    await this.#mark();
  }

  /** What was written to it, and only that, has changed; and it goes on. */
  async isChangedBy(block: number): Promise<void> {
    assert.deepEqual(await changedSince(this.tracker, this.epoch), [{ sector: block * BLOCK, count: BLOCK }]);
    assert.equal((await this.tracker.info()).generation, this.generation);
    await this.#mark();
  }

  /** Not by the filter, but by what can be read. */
  holdsOther(): void {
    assert.notEqual(contentOf(this.path), this.content, 'the test changes nothing');
  }

  async end(): Promise<void> {
    await this.tracker.detach();
    await this.device.close();
  }
}

const fill = (...disks: string[]): void => {
  for (const disk of disks) sh(`dd if=/dev/urandom of=${disk} bs=1M count=256 oflag=direct status=none`);
};

describe('a device-mapper device whose table is swapped', () => {
  const linear = (disk: string, start = 0, size = SIZE) => `0 ${size} linear ${disk} ${start}`;
  const load = (...table: string[]) => sh(`printf '%s\\n' '${table.join("' '")}' | dmsetup load mapped`);
  const resume = () => run('dmsetup', 'resume', 'mapped');
  const swap = (...table: string[]): void => {
    load(...table);
    resume();
  };
  let tracked: Tracked;
  const begin = async (...table: string[]): Promise<void> => {
    tracked = await Tracked.begin(dmCreate('mapped', ...table));
  };
  const end = async (): Promise<void> => {
    await tracked.end();
    dmRemove('mapped');
  };

  before(() => {
    sh('modprobe -a dm-crypt dm-snapshot dm-thin-pool loop');
    fill('/dev/sda', '/dev/sdb');
  });

  it('goes on when it was only suspended, and when the same table comes again', async () => {
    await begin(linear('/dev/sdb'));
    run('dmsetup', 'suspend', 'mapped');
    resume();
    await tracked.isTheSame();
    swap(linear('/dev/sdb'));
    await tracked.isTheSame();
    await end();
  });

  it('to another disk: begins a new generation, each time', async () => {
    await begin(linear('/dev/sdb'));
    for (const disk of ['/dev/sda', '/dev/sdb']) {
      swap(linear(disk));
      tracked.holdsOther();
      await tracked.isAnother('mapping');
    }
    await end();
  });

  it('to another place of the same disk', async () => {
    await begin(linear('/dev/sdb'));
    swap(linear('/dev/sdb', 8));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('and back, while nobody looked, and something may have been written elsewhere', async () => {
    await begin(linear('/dev/sdb'));
    swap(linear('/dev/sda'));
    swap(linear('/dev/sdb'));
    await tracked.isAnother('mapping');
    await end();
  });

  it('that is asked while it is suspended, before and after the swap', async () => {
    await begin(linear('/dev/sdb'));
    run('dmsetup', 'suspend', 'mapped');
    const { generation } = await tracked.tracker.info();
    load(linear('/dev/sda'));
    assert.equal((await tracked.tracker.info()).generation, generation);
    resume();
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('of several targets: the same ones, and one of them another', async () => {
    const half = SIZE / 2;
    const first = `0 ${half} linear /dev/sda 0`;
    const second = (start: number) => `${half} ${half} linear /dev/sdb ${start}`;
    await begin(first, second(0));
    swap(first, second(0));
    await tracked.isTheSame();
    swap(first, second(half));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('that has grown: its new part is changed, and the old one is not', async () => {
    const table = (...segments: string[]) => segments;
    const second = `${2 * SIZE} ${SIZE} linear /dev/sda 0`;
    await begin(linear('/dev/sdb'));
    swap(linear('/dev/sdb', 0, 2 * SIZE));
    await tracked.isTheSame(SIZE);
    swap(...table(linear('/dev/sdb', 0, 2 * SIZE), second));
    await tracked.isTheSame(2 * SIZE);
    // Twice, while nobody looked.
    swap(...table(linear('/dev/sdb', 0, 2 * SIZE), `${2 * SIZE} ${2 * SIZE} linear /dev/sda 0`));
    swap(
      ...table(linear('/dev/sdb', 0, 2 * SIZE), `${2 * SIZE} ${2 * SIZE} linear /dev/sda 0`, `${4 * SIZE} ${SIZE} linear /dev/sdb ${3 * SIZE}`),
    );
    await tracked.isTheSame(3 * SIZE);
    await end();
  });

  it('that has grown, and holds other content at its beginning', async () => {
    await begin(linear('/dev/sdb'));
    swap(linear('/dev/sda', 0, 2 * SIZE));
    await tracked.isAnother('mapping');
    // The first part is longer, so that the second one begins elsewhere.
    const parts = (border: number) => [`0 ${border} linear /dev/sda 0`, `${border} ${2 * SIZE - border} linear /dev/sdb 0`];
    swap(...parts(SIZE));
    await tracked.isAnother('mapping');
    swap(...parts(SIZE + MIB));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('of stripes, and of an encrypted one: the same, and another key', async () => {
    const striped = (chunk: number) => `0 ${SIZE} striped 2 ${chunk} /dev/sda 0 /dev/sdb 0`;
    await begin(striped(128));
    swap(striped(128));
    await tracked.isTheSame();
    swap(striped(64));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();

    const crypt = (byte: string) => `0 ${SIZE} crypt aes-cbc-essiv:sha256 ${byte.repeat(32)} 0 /dev/sdb 0`;
    await begin(crypt('01'));
    swap(crypt('01'));
    await tracked.isTheSame();
    swap(crypt('10'));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('whose snapshot is merged back', async () => {
    partition('/dev/sda', 2048, 16);
    sh('dd if=/dev/zero of=/dev/sda1 bs=4096 count=1 oflag=direct status=none');
    await begin(linear('/dev/sdb'));
    const origin = dmCreate('origin', linear('/dev/sdb'));
    swap(`0 ${SIZE} snapshot-origin ${origin}`);
    const store = '/dev/sda1';
    dmCreate('snapshot', `0 ${SIZE} snapshot ${origin} ${store} P 8`);
    await tracked.isTheSame();
    writeBlock(tracked.path, 100);
    await tracked.isChangedBy(100);
    dmRemove('snapshot');
    swap(`0 ${SIZE} snapshot-merge ${origin} ${store} P 8`);
    await until('the merge', () => / (\d+)\/\d+ \1\n/.test(run('dmsetup', 'status', 'mapped')));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
    dmRemove('origin');
    unpartition('/dev/sda');
  });

  it('to an older state of a thin volume', async () => {
    partition('/dev/sda', 2048, 16);
    sh('dd if=/dev/zero of=/dev/sda1 bs=4096 count=1 oflag=direct status=none');
    const pool = dmCreate('pool', `0 ${4 * SIZE} thin-pool /dev/sda1 /dev/sdb 128 0`);
    const thin = (id: number, size = SIZE) => `0 ${size} thin ${pool} ${id}`;
    const message = (text: string) => run('dmsetup', 'message', 'pool', '0', text);
    message('create_thin 0');
    await begin(thin(0));
    writeBlock(tracked.path, 1);
    run('dmsetup', 'suspend', 'mapped');
    message('create_snap 1 0');
    resume();
    await tracked.isChangedBy(1);
    writeBlock(tracked.path, 1);
    await tracked.isChangedBy(1);
    swap(thin(0, SIZE + MIB));
    await tracked.isTheSame(SIZE);
    swap(thin(1, SIZE + MIB));
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
    dmRemove('pool');
    unpartition('/dev/sda');
  });

  it('to one that can be mapped into memory (DAX): nothing is known as long as it lasts', async (t) => {
    if (attempt('modprobe', '-a', 'nd_e820', 'nd_pmem').status !== 0) {
      t.skip('this kernel has no nd_e820');
      return;
    }
    await until('the disk in memory', () => existsSync('/dev/pmem0'));
    await begin(linear('/dev/sdb'));
    swap(linear('/dev/pmem0'));
    const generations = new Set<string>();
    for (let i = 0; i < 3; i++) {
      const { generation, gap } = await tracked.tracker.info();
      assert.equal(gap, 'mapping');
      generations.add(generation);
    }
    assert.equal(generations.size, 3);
    assert.match(sh('dmesg'), /dm-\d+ can be mapped into memory \(DAX\) now/);
    swap(linear('/dev/sdb'));
    await tracked.isAnother('mapping');
    await end();
  });
});

describe('a loop device', () => {
  let tracked: Tracked;
  const [one, two] = ['/run/one', '/run/two'];
  const setup = (...options: string[]): string => run('losetup', '-f', '--show', ...options).trim();

  before(() => {
    sh('modprobe loop');
    for (const file of [one, two]) sh(`dd if=/dev/urandom of=${file} bs=1M count=16 status=none`);
  });
  after(() => sh(`rm ${one} ${two}`));

  const begin = async (...options: string[]): Promise<void> => {
    tracked = await Tracked.begin(setup(...options));
  };
  const end = async (): Promise<void> => {
    await tracked.end();
    run('losetup', '-d', tracked.path);
  };
  const loop = (...args: (string | number)[]) => run(program('loop-set'), tracked.path, ...args.map(String));

  it('that is moved in its file begins a new generation, also when its size stays', async () => {
    await begin('--offset', '0', '--sizelimit', String(8 << 20), one);
    loop('status', 4096, 8 << 20);
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    loop('old', 8192);
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('a program of 32 bits likewise', async () => {
    await begin('--offset', '0', '--sizelimit', String(8 << 20), one);
    loop('compat', 4096, 8 << 20);
    tracked.holdsOther();
    await tracked.isAnother('mapping');
    await end();
  });

  it('goes on when only its flags are set', async () => {
    await begin('--offset', '4096', '--sizelimit', String(8 << 20), one);
    loop('status', 4096, 8 << 20, 'autoclear');
    assert.match(run('losetup', '-l', '-n', '-O', 'AUTOCLEAR', tracked.path), /1/);
    await tracked.isTheSame();
    loop('status', 4096, 8 << 20);
    await tracked.isTheSame();
    await end();
  });

  it('that grows with its file goes on, with its new part changed', async () => {
    await begin(one);
    sh(`truncate -s 24M ${one}; losetup -c ${tracked.path}`);
    await tracked.isTheSame(16 * MIB);
    await end();
    sh(`truncate -s 16M ${one}`);
  });

  it('with another file of the same size', async () => {
    await begin('--read-only', one);
    loop('file', two);
    tracked.holdsOther();
    const { generation, gap } = await tracked.tracker.info();
    assert.equal(gap, 'mapping');
    assert.equal((await tracked.tracker.info()).generation, generation);
    await end();
  });

  it('reports what was written before it was moved', async () => {
    await begin('--offset', '0', '--sizelimit', String(8 << 20), one);
    const { epoch } = await tracked.tracker.checkpoint();
    // In the page cache only, until the ioctl writes it back.
    sh(`dd if=/dev/urandom of=${tracked.path} bs=64K seek=5 count=1 conv=notrunc status=none`);
    loop('status', 4096, 8 << 20);
    const { sectors } = await tracked.tracker.info();
    assert.deepEqual(await changedSince(tracked.tracker, epoch), [{ sector: 0, count: sectors }]);
    await end();
  });
});

describe('an nbd device', () => {
  it('that is connected anew is changed in all that it holds', async () => {
    sh('modprobe nbd nbds_max=1');
    for (const file of ['/run/one', '/run/two']) sh(`dd if=/dev/urandom of=${file} bs=1M count=16 status=none`);
    const connect = (file: string): string => run('qemu-nbd', '--connect=/dev/nbd0', '--format=raw', file);
    connect('/run/one');
    await until('the device', () => run('blockdev', '--getsz', '/dev/nbd0').trim() === String(16 * MIB));
    const tracked = await Tracked.begin('/dev/nbd0');
    const { epoch } = await tracked.tracker.checkpoint();
    await tracked.device.close();
    run('qemu-nbd', '--disconnect', '/dev/nbd0');
    await until('it to be gone', () => run('blockdev', '--getsz', '/dev/nbd0').trim() === '0');
    connect('/run/two');
    await until('the device', () => run('blockdev', '--getsz', '/dev/nbd0').trim() === String(16 * MIB));
    const device = await open('/dev/nbd0');
    const tracker = await device.filter('cbt');
    assert.deepEqual(await changedSince(tracker, epoch), [{ sector: 0, count: 16 * MIB }]);
    await tracker.detach();
    await device.close();
    run('qemu-nbd', '--disconnect', '/dev/nbd0');
    sh('rm /run/one /run/two');
  });
});
