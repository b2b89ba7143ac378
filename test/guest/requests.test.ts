// SPDX-License-Identifier: MIT
//
// What comes to a disk as a request and not as a bio: from multipath, which is seen, and by commands past the block layer,
// which change no one knows what, so that cbt begins a new generation; while those that only ask change nothing.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { after, afterEach, before, describe, it } from 'node:test';

import { open, readOnly } from 'blkfilter';

import {
  attribute,
  dmCreate,
  dmRemove,
  filters,
  NVME,
  NVME_GENERIC,
  nvme,
  partition,
  scatter,
  unpartition,
  type Scatter,
} from './support/devices.js';
import { collected, rounded, shifted, union } from './support/extents.js';
import { plug, unplugAll } from './support/plug.js';
import { attempt, program, run, sh, until } from './support/run.js';

const [A, B] = ['/dev/sda', '/dev/sdb'];
const BLOCK = 8;

/** So many sectors of a device, read past every cache. */
const content = (path: string, sector: number, count = BLOCK): string =>
  sh(`dd if=${path} iflag=direct skip=${sector} count=${count} status=none | md5sum`);
const fill = (path: string, sector: number, count = BLOCK) =>
  attempt('dd', 'if=/dev/urandom', `of=${path}`, 'oflag=direct', `seek=${sector}`, `count=${count}`, `bs=512`, 'status=none');

/* ---- Multipath ----------------------------------------------------------- */

/** How many requests that write a disk has completed, by the kernel's statistics. */
const requestsWritten = (disk: string): number =>
  Number(readFileSync(`/sys/class/block/${disk.slice(5)}/stat`, 'utf8').trim().split(/ +/)[4]);

describe('multipath by requests', () => {
  /** A device with paths to these disks, all of which it takes for the same. */
  const multipath = (...disks: string[]): string => {
    const paths = disks.map((disk) => `${disk} 1000`).join(' ');
    return dmCreate('mp', `0 ${attribute(B, 'size')} multipath 0 0 1 1 round-robin 0 ${disks.length} 1 ${paths}`);
  };
  /** The state of each path: A for active, F for failed. */
  const states = (...disks: string[]): (string | undefined)[] => {
    const status = run('dmsetup', 'status', 'mp');
    return disks.map((disk) => new RegExp(` ${readFileSync(`/sys/class/block/${disk.slice(5)}/dev`, 'utf8').trim()} ([AF])`).exec(status)?.[1]);
  };

  before(() => void run('modprobe', '-a', 'dm_multipath', 'dm_round_robin'));
  // Also of a test that failed.
  afterEach(() => {
    for (const path of [A, B, `${B}1`, `${B}2`].filter((path) => existsSync(path))) {
      for (const name of filters(path)) run('blkfilter', 'detach', path, name);
    }
    dmRemove('mp');
    if (existsSync(`${B}1`)) unpartition(B);
  });

  it('cbt on a path, and on a partition of it, reports what was written, and nothing else', async () => {
    partition(B, 2048 + 63, 256, 512);
    const top = multipath(B);
    const paths = [B, `${B}1`, `${B}2`];
    const devices = await Promise.all(paths.map((path) => open(path)));
    const trackers = await Promise.all(devices.map((device) => device.attach('cbt', { blockSize: '4KiB' })));
    const rows: Scatter[] = [
      { how: 'direct', threads: 4, count: 60, max: 64 * 1024, seed: 1 },
      { how: 'buffered', threads: 2, count: 60, max: 256 * 1024, seed: 2 },
      { how: 'discard', threads: 2, count: 30, max: 8 * 1024 * 1024, seed: 3 },
      { how: 'zeroout', threads: 2, count: 30, max: 1024 * 1024, seed: 4 },
    ];
    for (const row of rows) {
      const before = await Promise.all(trackers.map((tracker) => tracker.checkpoint()));
      const places = scatter(top, row);
      for (const [i, tracker] of trackers.entries()) {
        const start = i ? attribute(paths[i] ?? '', 'start') : 0;
        const sectors = attribute(paths[i] ?? '', 'size');
        const inside = shifted(places, -start).flatMap(({ sector, count }) => {
          const [first, end] = [Math.max(sector, 0), Math.min(sector + count, sectors)];
          return first < end ? [{ sector: first, count: end - first }] : [];
        });
        const mark = before[i]?.mark;
        assert.ok(mark);
        const reported = await collected(tracker.changes({ since: mark }));
        assert.deepEqual(reported, union(rounded(inside, BLOCK, sectors)), `${row.how} on ${paths[i]}`);
      }
    }
    assert.deepEqual(await Promise.all(devices.map((device) => device.bypassed())), [0, 0, 0]);
    for (const tracker of trackers) await tracker.detach();
    for (const device of devices) await device.close();
  });

  it('a guard on a path denies, at once, without a retry by another path, and the path stays', async () => {
    const top = multipath(A, B);
    await using device = await open(A);
    await using other = await open(B);
    const guard = await device.attach('guard', { rules: [readOnly] });
    const tracker = await other.attach('cbt');
    const { mark } = await tracker.checkpoint();
    const contents = content(A, 0, 4096);
    const { status, stderr } = fill(top, 64);
    assert.deepEqual([status, content(A, 0, 4096)], [1, contents]);
    assert.match(stderr, /Remote I\/O error/);
    assert.notEqual(attempt('blkdiscard', '-l', '1M', top).status, 0);
    assert.equal(content(A, 0, 4096), contents);
    // By either path: the disks are two, and need not hold the same.
    for (let i = 0; i < 4; i++) content(top, 0);
    assert.deepEqual(states(A, B), ['A', 'A']);
    assert.deepEqual(await collected(tracker.changes({ since: mark })), []);
    await guard.setRules({});
    assert.equal(fill(top, 64).status, 0);
    await guard.detach();
    await tracker.detach();
  });

  it('a filter that looks only where bios are submitted counts what changes data', async () => {
    const top = multipath(B);
    await using device = await open(B);
    const trace = await device.attach('trace');
    run('dd', `if=${top}`, 'of=/dev/null', 'bs=4k', 'count=8', 'iflag=direct', 'status=none');
    assert.equal(await device.bypassed(), 0);
    const written = requestsWritten(B);
    for (let i = 0; i < 8; i++) assert.equal(fill(top, 64 * i).status, 0);
    assert.equal(await device.bypassed(), requestsWritten(B) - written);
    assert.ok((await device.bypassed()) >= 8);
    await trace.detach();
  });
});

/* ---- Commands ------------------------------------------------------------ */

/** Where data goes, and what it begins with. */
type Way = 'in' | 'out' | `out=${string}`;
/** How it is sent, where to, its bytes, and what it carries. */
type Command = [how: string, node: string, bytes: string, ...transfer: [Way, number] | []];

/** Sends it; the device may refuse it, but the kernel must have taken it. */
const send = (command: Command): string => run(program('passthrough'), ...command.map(String));

/** The node of that kind of a SCSI disk. */
const nodeOf = (disk: string, kind: 'scsi_generic' | 'bsg'): string => {
  const name = readdirSync(`/sys/class/block/${disk.slice(5)}/device/${kind}`)[0] ?? '';
  return kind === 'bsg' ? `/dev/bsg/${name}` : `/dev/${name}`;
};
const CONTROLLER = '/dev/nvme0';

/** Sends each command, and gives for each how often it was counted, and how many generations it began. */
async function counted(path: string, commands: (Command | (() => unknown))[]): Promise<[string, number, number][]> {
  await using device = await open(path);
  const tracker = await device.attach('cbt');
  const results: [string, number, number][] = [];
  try {
    for (const command of commands) {
      const [bypassed, { generation }] = [await device.bypassed(), await tracker.info()];
      if (typeof command === 'function') command();
      else send(command);
      const info = await tracker.info();
      results.push([String(command), (await device.bypassed()) - bypassed, Number(info.generation !== generation)]);
    }
  } finally {
    await tracker.detach();
  }
  return results;
}
const all = (commands: (Command | (() => unknown))[], times: number) => commands.map((command) => [String(command), times, times]);

const cdb = (hex: string): string => hex.replaceAll(' ', '');
const WRITE: [string, 'out', number] = [cdb('2a00 00001000 00 0001 00'), 'out', 512];
/** WRITE SAME without data: zeroes, to sectors 4096 to 4103. */
const WRITE_SAME = cdb('9301 0000000000001000 00000008 00 00');
/** ATA PASS-THROUGH (16): a protocol, a feature, a command, and the low byte of its address. */
const ata = (protocol: number, feature: string, command: string, low = '00'): string =>
  cdb(`85${(protocol << 1).toString(16).padStart(2, '0')} 0e 00${feature} 0001 00${low} 004f 00c2 00 ${command} 00`);
const [NON_DATA, PIO_IN, PIO_OUT] = [3, 4, 5];

describe('commands past the block layer', () => {
  before(async () => {
    run('modprobe', 'sg');
    await nvme();
  });

  it('that change a SCSI disk are counted, with data and without, by each of its nodes', async () => {
    const [sg, bsg] = [nodeOf(B, 'scsi_generic'), nodeOf(B, 'bsg')];
    const commands: Command[] = [
      ['sg', B, ...WRITE], ['sg', sg, ...WRITE], ['write', sg, ...WRITE], ['bsg', bsg, ...WRITE],
      ['sg', B, WRITE_SAME], ['sg', sg, WRITE_SAME], ['write', sg, WRITE_SAME], ['bsg', bsg, WRITE_SAME],
      ['sg', B, '040000000000'], // FORMAT UNIT
      ['sg', B, cdb('4802 0000 0000 0000 0000')], // SANITIZE, block erase
      ['sg', B, cdb('9e18 0000000000000000 00000000 00 00')], // REMOVE ELEMENT AND TRUNCATE
      ['sg', B, ata(NON_DATA, '11', 'b4')], // SANITIZE DEVICE
      ['sg', B, ata(NON_DATA, '00', 'f4'), 'out', 512], // SECURITY ERASE UNIT
      ['sg', B, ata(PIO_OUT, '00', '34'), 'out', 512], // WRITE SECTORS EXT
      ['sg', B, ata(PIO_OUT, 'd6', 'b0', 'e0'), 'out=0200', 512], // SCT: write same
      ['sg', B, cdb('c100 0000 0000')], // a vendor's own
    ];
    assert.deepEqual(await counted(B, commands), all(commands, 1));
  });

  it('that carry no data change a disk', async () => {
    const disk = await plug();
    fill(disk, 4096);
    const before = content(disk, 4096);
    const commands: Command[] = [['sg', disk, WRITE_SAME]];
    assert.deepEqual(await counted(disk, commands), all(commands, 1));
    assert.notEqual(content(disk, 4096), before);
    await unplugAll(disk);
  });

  it('that only ask a SCSI disk begin no generation, nor do those of the kernel itself', async () => {
    const questions: [string, ...([Way, number] | [])][] = [
      ['000000000000'], // TEST UNIT READY
      ['120000006000', 'in', 96], ['12018300ff00', 'in', 255], // INQUIRY
      ['030000001200', 'in', 18], // REQUEST SENSE
      ['1a003f00ff00', 'in', 255], [cdb('5a00 3f00 0000 0000 ff00'), 'in', 255], // MODE SENSE
      [cdb('4d00 4000 0000 0000 ff00'), 'in', 255], // LOG SENSE
      [cdb('2500 0000 0000 0000 0000'), 'in', 8], [cdb('9e10 0000000000000000 00000020 00 00'), 'in', 32], // READ CAPACITY
      [cdb('a000 0000 0000 0000 0010 0000'), 'in', 16], // REPORT LUNS
      [cdb('5e00 0000 0000 0000 1000'), 'in', 16], // PERSISTENT RESERVE IN
      [cdb('5f06 0000 0000 0000 1800'), 'out', 24], // PERSISTENT RESERVE OUT
      ['1b0000000100'], ['1e0000000000'], // START STOP, PREVENT ALLOW
      [cdb('3500 0000 0000 0000 0000')], [cdb('9100 0000000000000000 00000000 00 00')], // SYNCHRONIZE CACHE
      [cdb('2800 00001000 00 0001 00'), 'in', 512], [cdb('2f00 00001000 00 0001 00')], // READ, VERIFY
      [cdb('3700 0000 0000 0000 0800'), 'in', 8], // READ DEFECT DATA
      [cdb('a30a 0000 0000 0000 0010 0000'), 'in', 16], [cdb('a30c 0000 0000 0000 0010 0000'), 'in', 16], // what it supports
      ['1d0400000000'], // SEND DIAGNOSTIC, a self-test
      [ata(PIO_IN, '00', 'ec'), 'in', 512], // IDENTIFY DEVICE
      [ata(PIO_IN, 'd0', 'b0'), 'in', 512], [ata(PIO_IN, 'd5', 'b0'), 'in', 512], [ata(NON_DATA, 'da', 'b0')], // SMART
      [ata(PIO_IN, '00', '2f'), 'in', 512], // READ LOG EXT
      [ata(PIO_OUT, 'd6', 'b0', 'e0'), 'out=0500', 512], [ata(PIO_OUT, '00', '3f', 'e0'), 'out=0300', 512], // SCT: read a table, times
      [ata(NON_DATA, '00', 'e5')], [ata(NON_DATA, '00', 'e0')], // CHECK POWER MODE, STANDBY IMMEDIATE
      [cdb('a108 0e00 0100 0000 00ec 0000'), 'in', 512],
    ];
    const commands = questions.map((question): Command => ['sg', B, ...question]);
    const own = [
      () => sh(`echo 1 > /sys/class/block/${B.slice(5)}/device/rescan`),
      () => run('blockdev', '--rereadpt', B),
    ];
    assert.deepEqual(await counted(B, [...commands, ...own]), all([...commands, ...own], 0));
  });

  it('that change an NVMe disk are counted, by each of its nodes', async () => {
    const commands: Command[] = [
      ['io', NVME, '1,1,1000', 'out', 512], ['io', NVME_GENERIC, '1,1,1000', 'out', 512], ['ring', NVME_GENERIC, '1,1,1000', 'out', 512],
      // Write zeroes, of 8 sectors, and write uncorrectable.
      ['io', NVME, '8,1,1000,0,7'], ['io', NVME_GENERIC, '8,1,1000,0,7'], ['ring', NVME_GENERIC, '8,1,1000,0,7'],
      ['io', CONTROLLER, '8,1,1000,0,7'],
      ['io', NVME, '4,1,1000'],
      ['io', NVME, '19,1'], ['io', NVME, 'c0,1'], // copy, a vendor's own
    ];
    assert.deepEqual(await counted(NVME, commands), all(commands, 1));
    fill(NVME, 4096);
    const before = content(NVME, 4096);
    assert.equal(send(['ring', NVME_GENERIC, '8,1,1000,0,7']).trim(), '0');
    assert.notEqual(content(NVME, 4096), before);
  });

  it('that an NVMe controller gets concern its disks', async () => {
    const commands: Command[] = [
      ['admin', CONTROLLER, '80,1'], ['admin', NVME, '80,1'], ['admin', NVME_GENERIC, '80,1'], ['adminring', CONTROLLER, '80,1'], // format
      ['admin', CONTROLLER, '84,0,1'], // sanitize
      ['admin', CONTROLLER, 'd,2,1'], ['admin', CONTROLLER, 'c0'], // namespace management, a vendor's own
    ];
    partition(NVME, 2048, 10);
    assert.deepEqual(await counted(`${NVME}p1`, commands.slice(-2)), all(commands.slice(-2), 1));
    fill(NVME, 4096);
    const before = content(NVME, 4096);
    assert.deepEqual(await counted(NVME, commands), all(commands, 1));
    assert.notEqual(content(NVME, 4096), before);
    run('blockdev', '--rereadpt', NVME);
    // Of SCSI disks it says nothing.
    assert.deepEqual(await counted(B, commands.slice(0, 1)), all(commands.slice(0, 1), 0));
  });

  it('that only ask an NVMe disk or its controller begin no generation', async () => {
    const commands: Command[] = [
      ['io', NVME, '2,1,1000', 'in', 512], ['io', NVME, '0,1'], ['io', NVME, '5,1,1000', 'out', 512], ['io', NVME, 'c,1,1000'],
      ['io', NVME, 'e,1,0', 'in', 64],
      ['admin', CONTROLLER, '6,0,1', 'in', 4096], ['admin', NVME, '6,1,0', 'in', 4096], ['adminring', CONTROLLER, '6,0,1', 'in', 4096],
      ['admin', CONTROLLER, '2,ffffffff,7f0002', 'in', 512], // SMART
      ['admin', CONTROLLER, 'a,0,7'], ['admin', CONTROLLER, '9,0,b,0'], // features
    ];
    const own = [() => sh(`echo 1 > /sys/class/nvme/nvme0/rescan_controller`)];
    assert.deepEqual(await counted(NVME, [...commands, ...own]), all([...commands, ...own], 0));
  });

  it('that an MMC card gets are counted, whatever the first of several does', async (t) => {
    if (attempt('modprobe', '-a', 'sdhci_pci', 'mmc_block').status !== 0) {
      t.skip('not in this kernel');
      return;
    }
    const card = '/dev/mmcblk0';
    await until('the card', () => existsSync(card));
    fill(card, 4096);
    const before = content(card, 4096);
    const commands: Command[] = [['mmc', card, '4096']];
    assert.deepEqual(await counted(card, commands), all(commands, 1));
    assert.notEqual(content(card, 4096), before);
  });
});

describe('commands to a stacked device', () => {
  const linear = (name: string, lower: string): string => dmCreate(name, `0 ${attribute(lower, 'size')} linear ${lower} 0`);
  let lower: string;
  let upper: string;
  before(() => {
    lower = linear('lower', B);
    upper = linear('upper', lower);
  });
  after(() => {
    dmRemove('upper');
    dmRemove('lower');
  });

  it('concern it, and what lies between it and the disk', async () => {
    for (const path of [lower, upper]) {
      const commands: Command[] = [['sg', upper, ...WRITE], ['sg', upper, WRITE_SAME], ['sg', upper, '040000000000']];
      assert.deepEqual(await counted(path, commands), all(commands, 1), path);
    }
  });

  it('concern a multipath device, too', async () => {
    run('modprobe', '-a', 'dm_multipath', 'dm_round_robin');
    const top = dmCreate('mp', `0 ${attribute(A, 'size')} multipath 0 0 1 1 round-robin 0 1 1 ${A} 1000`);
    const commands: Command[] = [['sg', top, ...WRITE], ['sg', top, WRITE_SAME]];
    assert.deepEqual(await counted(top, commands), all(commands, 1));
    dmRemove('mp');
  });

  it('concern an NVMe disk below', async () => {
    const top = linear('over', NVME);
    const commands: Command[] = [['io', top, '8,1,1000,0,7'], ['admin', top, '80,1']];
    assert.deepEqual(await counted(top, commands), all(commands, 1));
    const questions: Command[] = [['io', top, '2,1,1000', 'in', 512], ['admin', top, '6,0,1', 'in', 4096]];
    assert.deepEqual(await counted(top, questions), all(questions, 0));
    dmRemove('over');
  });

  it('begin no generation where they only ask', async () => {
    const commands: Command[] = [['sg', upper, '120000006000', 'in', 96], ['sg', upper, ata(PIO_IN, 'd0', 'b0'), 'in', 512]];
    const others = [
      () => sh(`test ! -t 0 < ${upper}`), // asks whether it is a terminal
      () => attempt('blkid', '-p', '-o', 'export', B),
      () => attempt('blkid', '-p', upper),
      () => run('blockdev', '--getsize64', '--getss', '--getro', '--flushbufs', upper),
    ];
    assert.deepEqual(await counted(upper, [...commands, ...others]), all([...commands, ...others], 0));
  });
});
