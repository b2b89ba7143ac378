// SPDX-License-Identifier: MIT
//
// What trace tells of requests, against those who made them: fio, blktrace, and the bytes themselves.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  open,
  type BlockDevice,
  type Trace,
  type TraceEnd,
  type TraceEvent,
  type TraceOptions,
  type TraceStream,
} from 'blkfilter';

import { attribute, dmCreate, dmRemove, mdCreate, mdStop, partition, unpartition } from './support/devices.js';
import { plug, unplug, unplugAll } from './support/plug.js';
import { references } from './support/race.js';
import { attempt, run, sh, until } from './support/run.js';

const DISK = '/dev/sda';
const OTHER = '/dev/sdb';
const MS = 1e6;
const ROUNDS = Number(process.env.BLKFILTER_ROUNDS ?? 30);

/** A device that is traced, by a stream that is open. */
class Tracing {
  private constructor(
    readonly device: BlockDevice,
    readonly trace: Trace,
    readonly stream: TraceStream,
  ) {}

  static async start(path: string, options: TraceOptions = {}): Promise<Tracing> {
    const device = await open(path);
    const trace = await device.attach('trace', { buffer: '4MiB', ...options });
    return new Tracing(device, trace, await trace.open());
  }

  /** What was traced until now; nothing may be lost. */
  async stop(): Promise<TraceEvent[]> {
    await this.trace.detach();
    const { events, end } = await collected(this.stream);
    assert.deepEqual({ end, dropped: this.stream.dropped }, { end: 'detached', dropped: 0 });
    await this.device.close();
    return events;
  }
}

/** All events of a stream, and why it has ended. */
async function collected(stream: TraceStream): Promise<{ events: TraceEvent[]; end: TraceEnd | undefined }> {
  const events: TraceEvent[] = [];
  for await (const event of stream) events.push(event);
  return { events, end: stream.ended };
}

/** The events of a device while something runs. */
async function traced(path: string, options: TraceOptions, work: () => unknown): Promise<TraceEvent[]> {
  const tracing = await Tracing.start(path, options);
  await work();
  return tracing.stop();
}

interface FioSide {
  total_ios: number;
  io_bytes: number;
}

/** Runs fio on a device; gives what it counted. */
function fio(path: string, ...options: string[]): { read: FioSide; write: FioSide } {
  const args = ['--name=job', `--filename=${path}`, '--direct=1', '--ioengine=libaio', '--randseed=7', '--output-format=json'];
  const { jobs } = JSON.parse(run('fio', ...args, ...options)) as { jobs: { read: FioSide; write: FioSide }[] };
  assert.ok(jobs[0]);
  return jobs[0];
}

const bytesOf = (events: TraceEvent[]): number => events.reduce((sum, { count }) => sum + count * 512, 0);
const by = (comm: string, operation: string) => (event: TraceEvent) => event.comm === comm && event.operation === operation;

/** What is in one list more often than in another. */
function without(list: string[], other: string[]): string[] {
  const left = new Map<string, number>();
  for (const one of other) left.set(one, (left.get(one) ?? 0) + 1);
  return list.filter((one) => {
    const count = left.get(one) ?? 0;
    left.set(one, count - 1);
    return count <= 0;
  });
}

/** Writes data directly, in pieces of so many bytes. */
function write(path: string, data: Buffer, { at = 0, piece = 4096 } = {}): void {
  const args = [`of=${path}`, `bs=${piece}`, 'oflag=direct,seek_bytes', `seek=${at}`, 'iflag=fullblock', 'status=none'];
  const { status, stderr } = spawnSync('dd', args, { input: data, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

const read = (path: string, { at = 0, length = 4096, piece = 4096 } = {}): string =>
  run('dd', `if=${path}`, 'of=/dev/null', `bs=${piece}`, 'iflag=direct,skip_bytes,count_bytes', `skip=${at}`, `count=${length}`, 'status=none');

/** A write in the background, which may not end by itself. */
function writing(path: string): Promise<number | null> {
  const child = spawn('dd', ['if=/dev/zero', `of=${path}`, 'bs=4k', 'count=1', 'oflag=direct', 'status=none']);
  return new Promise((resolve) => child.on('close', resolve));
}

describe('trace', () => {
  it('tells of the requests that fio makes, no more and no less', async () => {
    let counted: ReturnType<typeof fio> | undefined;
    const events = await traced(DISK, { segments: true }, () => {
      counted = fio(DISK, '--rw=randrw', '--bsrange=4k-64k', '--size=64M', '--io_size=8M', '--iodepth=8');
    });
    assert.ok(counted);
    for (const side of ['read', 'write'] as const) {
      const found = events.filter(by('fio', side)).filter(({ count }) => count > 0);
      assert.equal(found.length, counted[side].total_ios);
      assert.equal(bytesOf(found), counted[side].io_bytes);
      for (const { status, device, submittedTo, segments, sector, count, latency, flags } of found) {
        assert.deepEqual({ status, device, submittedTo }, { status: null, device: 'sda', submittedTo: 'sda' });
        assert.equal(segments.reduce((sum, { length }) => sum + length, 0), count * 512);
        assert.equal(segments[0]?.sector, sector);
        assert.equal((segments.at(-1)?.sector ?? 0) + (segments.at(-1)?.count ?? 0), sector + count);
        assert.ok(latency > 0);
        assert.equal(flags.includes('sync'), side === 'write' || flags.includes('sync'));
      }
    }
  });

  it('and of as many reads as writes when fio verifies what it wrote', async () => {
    const events = await traced(DISK, {}, () => {
      fio(DISK, '--rw=randwrite', '--bs=4k', '--size=4M', '--iodepth=8', '--verify=crc32c');
    });
    const of = (side: string) => events.filter(by('fio', side)).map(({ sector, count }) => `${sector}+${count}`).sort();
    assert.equal(of('write').length, 1024);
    assert.deepEqual(of('read'), of('write'));
  });

  it('counts what a buffer has no room for', async () => {
    const device = await open(DISK);
    const trace = await device.attach('trace', { buffer: '4KiB', operations: ['write'] });
    const stream = await trace.open();
    const { write } = fio(DISK, '--rw=randwrite', '--bs=4k', '--size=4M', '--iodepth=8');
    await trace.detach();
    const drops: number[] = [];
    let events = 0;
    for await (const batch of stream.batches()) {
      events += batch.length;
      for (const { cpu, count } of batch.drops) drops[cpu] = (drops[cpu] ?? 0) + count;
    }
    assert.ok(events > 0 && stream.dropped > 0, `${events} events, ${stream.dropped} dropped`);
    assert.equal(events + stream.dropped, write.total_ios);
    assert.equal(drops.reduce((sum, count) => sum + count, 0), stream.dropped);
    await device.close();
  });

  it('tells of the requests that blktrace tells of', async () => {
    // What blkparse makes of operation and flags.
    const letters = ({ operation, flags, count }: TraceEvent): string => {
      const has = (flag: string, letter: string): string => (flags.includes(flag) ? letter : '');
      const op = { read: 'R', write: 'W', flush: 'W', 'write-zeroes': 'W', discard: 'D' }[operation] ?? operation;
      return `${has('preflush', 'F')}${count === 0 && op === 'R' ? 'N' : op}${has('fua', 'F')}${has('readahead', 'A')}${has('sync', 'S')}${has('metadata', 'M')}`;
    };
    rmSync('/run/blktrace', { recursive: true, force: true });
    mkdirSync('/run/blktrace');
    // All of it made now, and not in the background while it is mounted.
    run('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0', DISK);
    const tracing = await Tracing.start(DISK);
    const blktrace = spawn('blktrace', ['-d', DISK, '-D', '/run/blktrace', '-o', 'disk', '-a', 'queue'], { stdio: 'ignore' });
    const ended = once(blktrace, 'close');
    await until('blktrace', () => readdirSync('/run/blktrace').length > 0 && readdirSync('/sys/kernel/debug/block/sda').includes('trace0'));
    await sleep(1000);
    sh(`mount ${DISK} /mnt; cp /etc/services /mnt/a; sync; cp /mnt/a /mnt/b; rm /mnt/a; fstrim /mnt; umount /mnt`);
    fio(DISK, '--rw=randrw', '--bsrange=4k-512k', '--size=64M', '--io_size=4M', '--iodepth=8', '--fsync=16');
    blktrace.kill('SIGINT');
    await ended;
    const events = await tracing.stop();
    const lines = run('blkparse', '-q', '-i', 'disk', '-D', '/run/blktrace', '-f', '%a %d %S %n\n');
    const theirs = Array.from(lines.matchAll(/^Q (\S+) (\d+) (\d+)$/gm), ([, ...fields]) => fields.join(' '));
    // On 7.2 this blktrace tells of no request with FUA, of which a journal's commit is one, nor of zeroing.
    const blind = !theirs.some((line) => /^\S*WF/.test(line));
    const told = events.filter(({ operation, flags }) => !(blind && (flags.includes('fua') || operation === 'write-zeroes')));
    const ours = told.map((event) => `${letters(event)} ${event.sector} ${event.count}`);
    assert.ok(theirs.length > 100, lines.slice(0, 1000));
    assert.deepEqual({ ours: without(ours, theirs), theirs: without(theirs, ours) }, { ours: [], theirs: [] });
    for (const operation of ['read', 'write', 'flush', 'discard']) {
      assert.ok(events.some((event) => event.operation === operation), operation);
    }
  });

  it('counts a pattern in what is written and read, wherever its occurrences begin', async () => {
    // Two letters, so that occurrences overlap each other and every border of a page and a segment.
    const data = Buffer.from(Array.from({ length: 256 * 1024 }, (_, i) => 97 + ((Math.imul(i, 2654435761) >>> 13) & 1)));
    const occurrences = (text: Buffer, pattern: string): number => {
      let count = 0;
      for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + 1)) count++;
      return count;
    };
    for (const match of ['abab', 'a', data.subarray(4064, 4128).toString()]) {
      const events = await traced(DISK, { match, segments: true }, () => {
        write(DISK, data, { piece: 64 * 1024 });
        read(DISK, { length: data.length, piece: 128 * 1024 });
        sh(`echo 3 > /proc/sys/vm/drop_caches; dd if=${DISK} of=/dev/null bs=64k count=4 status=none`);
      });
      const found = events.filter(({ comm, count }) => comm === 'dd' && count > 0);
      assert.ok(bytesOf(found) >= 3 * data.length);
      assert.ok(found.some(({ segments }) => segments.length > 1), 'no request of several segments');
      for (const { sector, count, matches } of found) {
        const bytes = data.subarray(sector * 512, (sector + count) * 512);
        if (bytes.length === count * 512) assert.equal(matches, occurrences(bytes, match), `${match} at ${sector}+${count}`);
      }
    }
  });

  it('leaves out what is not wanted', async () => {
    const only = async (options: TraceOptions) =>
      traced(DISK, options, () => {
        write(DISK, Buffer.alloc(16384), { at: 0 });
        read(DISK, { length: 16384 });
        run('blkdiscard', '--force', '--offset', '1M', '--length', '1M', DISK);
      });
    const places = (events: TraceEvent[]) => events.map(({ operation, sector, count }) => `${operation} ${sector}+${count}`);
    assert.deepEqual(places(await only({ operations: 'discard' })), ['discard 2048+2048']);
    assert.deepEqual(places(await only({ sector: 8, count: 8, operations: ['read', 'write'] })), ['write 8+8', 'read 8+8']);
    assert.deepEqual(places(await only({ task: 1 })), []);
    assert.deepEqual(places(await only({ cgroup: 1, operations: ['zone-append'] })), []);
  });

  it('tells which control group a request is charged to', async () => {
    sh('mkdir -p /run/cgroup; mount -t cgroup2 none /run/cgroup; echo +io > /run/cgroup/cgroup.subtree_control; mkdir /run/cgroup/traced');
    try {
      const cgroup = statSync('/run/cgroup/traced').ino;
      const events = await traced(DISK, { cgroup }, () => {
        write(DISK, Buffer.alloc(4096));
        sh(`echo $$ > /run/cgroup/traced/cgroup.procs; dd if=/dev/zero of=${DISK} bs=4k count=2 oflag=direct status=none`);
      });
      assert.deepEqual(events.map((event) => event.cgroup), [cgroup, cgroup]);
    } finally {
      sh('rmdir /run/cgroup/traced; umount /run/cgroup');
    }
  });

  it('tells of a request once, however it is split', async () => {
    const limit = `/sys/block/${DISK.slice(5)}/queue/max_sectors_kb`;
    const old = readFileSync(limit, 'utf8');
    sh(`echo 4 > ${limit}`);
    try {
      const events = await traced(DISK, { segments: true }, () => {
        write(DISK, Buffer.alloc(256 * 1024, 5), { piece: 64 * 1024 });
      });
      const found = events.filter(by('dd', 'write'));
      assert.deepEqual(found.map(({ sector, count }) => [sector, count]), [0, 128, 256, 384].map((sector) => [sector, 128]));
      assert.equal(found[0]?.segments.reduce((sum, { length }) => sum + length, 0), 65536);
    } finally {
      sh(`echo ${old.trim()} > ${limit}`);
    }
  });
});

describe('trace of a disk and its partitions', () => {
  before(() => {
    partition(OTHER, 2048, 64, 64);
  });
  after(() => {
    unpartition(OTHER);
  });

  it('sees a bio on both, and each has its own sectors', async () => {
    const disk = await Tracing.start(OTHER, { segments: true });
    const second = await Tracing.start(`${OTHER}2`, { segments: true });
    const start = attribute(`${OTHER}2`, 'start');
    write(`${OTHER}2`, Buffer.alloc(8192), { piece: 8192 });
    // Half before the partition.
    write(OTHER, Buffer.alloc(8192), { at: (start - 8) * 512, piece: 8192 });
    const place = ({ device, submittedTo, sector, count, segments }: TraceEvent) => ({
      device,
      submittedTo,
      sector,
      count,
      memory: segments.reduce((sum, { length }) => sum + length, 0) / 512,
      first: segments[0]?.sector,
    });
    const writes = async (tracing: Tracing) => (await tracing.stop()).filter(by('dd', 'write')).map(place);
    assert.deepEqual(await writes(second), [
      { device: 'sdb2', submittedTo: 'sdb2', sector: 0, count: 16, memory: 16, first: 0 },
      { device: 'sdb2', submittedTo: 'sdb', sector: 0, count: 8, memory: 8, first: 0 },
    ]);
    assert.deepEqual(await writes(disk), [
      { device: 'sdb', submittedTo: 'sdb2', sector: start, count: 16, memory: 16, first: start },
      { device: 'sdb', submittedTo: 'sdb', sector: start - 8, count: 16, memory: 16, first: start - 8 },
    ]);
  });

  it('goes on when the partition table is read again', async () => {
    const tracing = await Tracing.start(`${OTHER}1`);
    // An open partition keeps the table from being read.
    await tracing.device.close();
    write(`${OTHER}1`, Buffer.alloc(4096));
    run('blockdev', '--rereadpt', OTHER);
    write(`${OTHER}1`, Buffer.alloc(4096), { at: 4096 });
    const device = await open(`${OTHER}1`);
    await device.detach('trace');
    const { events, end } = await collected(tracing.stream);
    assert.equal(end, 'detached');
    assert.deepEqual(events.filter(by('dd', 'write')).map(({ sector }) => sector), [0, 8]);
    await device.close();
  });
});

describe('trace of what is built on disks', () => {
  it('tells how long a request takes', async () => {
    const slow = dmCreate('slow', `0 ${attribute(DISK, 'size')} delay ${DISK} 0 500`);
    const above = await Tracing.start(slow);
    const below = await Tracing.start(DISK);
    write(slow, Buffer.alloc(4096));
    const latency = async (tracing: Tracing) =>
      (await tracing.stop()).filter(({ operation, count }) => operation === 'write' && count === 8).map(({ latency }) => latency);
    const [[long = 0], [short = Infinity]] = [await latency(above), await latency(below)];
    dmRemove('slow');
    // dm-delay counts in ticks, which come late where the emulator has to wait for the machine.
    assert.ok(long >= 400 * MS && long < 10_000 * MS, `${long} ns`);
    assert.ok(long > short, `${long} and ${short} ns`);
  });

  it('tells what became of a request', async () => {
    const broken = dmCreate('broken', `0 2048 linear ${DISK} 0`, '2048 2048 error');
    const events = await traced(broken, {}, () => {
      read(broken);
      attempt('dd', `if=${broken}`, 'of=/dev/null', 'bs=4k', 'count=1', 'skip=256', 'iflag=direct');
    });
    dmRemove('broken');
    assert.deepEqual(events.filter(by('dd', 'read')).map(({ sector, status }) => [sector, status]), [[0, null], [2048, 'EIO']]);
  });

  it('follows a bio that a RAID splits and sends on, chained, from one traced device to the others', async () => {
    mdCreate(0, [DISK, OTHER], '--chunk=64');
    const [md, a, b] = [await Tracing.start('/dev/md0'), await Tracing.start(DISK), await Tracing.start(OTHER)];
    const data = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 7) >> 8));
    write('/dev/md0', data, { piece: 1 << 20 });
    const back = spawnSync('dd', ['if=/dev/md0', 'bs=1M', 'count=1', 'iflag=direct', 'status=none'], { maxBuffer: 1 << 21 }).stdout;
    assert.ok(back.equals(data));
    const [above, below] = [await md.stop(), [...(await a.stop()), ...(await b.stop())]];
    mdStop(DISK, OTHER);
    for (const operation of ['read', 'write']) {
      const [whole, parts] = [above.filter(by('dd', operation)), below.filter(by('dd', operation))];
      assert.equal(bytesOf(whole), data.length);
      assert.equal(bytesOf(parts), data.length);
      assert.equal(parts.length, 16);
    }
  });

  it('ends a chain of bios, however long, of which the first is done last', async () => {
    // A discard is one chain. The bio that all others wait for is held back longest.
    const length = 2 ** 33;
    run('truncate', '-s', String(length * 512), '/run/void');
    run('modprobe', 'loop');
    const loop = run('losetup', '--find', '--show', '/run/void').trim();
    const slow = dmCreate('chain', `0 2048 delay ${loop} 0 3000`, `2048 ${length - 2048} delay ${loop} 2048 1`);
    const events = await traced(slow, { operations: ['discard'] }, () => run('blkdiscard', '--force', slow));
    dmRemove('chain');
    run('losetup', '--detach', loop);
    rmSync('/run/void');
    assert.equal(bytesOf(events), length * 512);
    assert.ok(events.length >= 1000, `${events.length} bios`);
    assert.ok(events.every(({ status }) => status === null));
  });
});

describe('a stream', () => {
  it('is the only one of its device', async () => {
    const tracing = await Tracing.start(DISK);
    await assert.rejects(tracing.trace.open(), { code: 'EBUSY', message: /somebody else is reading/ });
    tracing.stream.close();
    (await tracing.trace.open()).close();
    await tracing.trace.detach();
    await assert.rejects(tracing.trace.open(), { code: 'ENOENT' });
    await tracing.device.close();
  });

  it('gives events while they happen, and ends when it is aborted, with the reason', async () => {
    const device = await open(DISK);
    const trace = await device.attach('trace');
    const controller = new AbortController();
    const reason = new Error('enough');
    let seen = 0;
    const loop = (async () => {
      for await (const { operation } of trace.events({ signal: controller.signal })) {
        assert.equal(operation, 'write');
        if (++seen === 3) controller.abort(reason);
      }
    })();
    // Attaching holds the module too, but not three times.
    await until('the stream to be open', () => references('blkfilter_trace') > 2);
    for (let i = 0; i < 3; i++) write(DISK, Buffer.alloc(4096));
    await assert.rejects(loop, reason);
    assert.equal(seen, 3);
    await assert.rejects(trace.events({ signal: controller.signal }).next(), reason);
    // One that waits is woken.
    const waits = new AbortController();
    const waiting = trace.batches({ signal: waits.signal }).next();
    await sleep(100);
    waits.abort(reason);
    await assert.rejects(waiting, reason);
    await trace.detach();
    await device.close();
  });

  it('ends when its device is gone', async () => {
    const disk = await plug();
    try {
      const { stream, device } = await Tracing.start(disk);
      const all = collected(stream);
      write(disk, Buffer.alloc(4096));
      unplug(disk);
      const { events, end } = await all;
      assert.equal(end, 'removed');
      assert.ok(events.some(by('dd', 'write')));
      await device.close();
    } finally {
      await unplugAll(disk);
    }
  });

  it('does not keep the process running, unless somebody waits', () => {
    const program = `
      import { open } from 'blkfilter';
      const device = await open('${DISK}');
      const trace = await device.attach('trace');
      const signal = AbortSignal.timeout(500);
      try { for await (const _ of trace.events({ signal })); } catch (error) { console.log(error.name); }
      const stream = await trace.open();
      await trace.detach();
      for await (const _ of stream);
      console.log(stream.ended);
      await device.attach('trace');
      globalThis.kept = await trace.open();`;
    const { status, stdout, stderr } = spawnSync('node', ['--input-type=module', '-e', program], { encoding: 'utf8', timeout: 60_000 });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: 'TimeoutError\ndetached\n', stderr: '' });
    run('blkfilter', 'detach', DISK, 'trace');
  });
});

describe('bios in flight', () => {
  const suspended = (): string => dmCreate('held', `0 ${attribute(DISK, 'size')} linear ${DISK} 0`);
  const hold = () => sh('dmsetup suspend --noflush --nolockfs held');
  const release = () => run('dmsetup', 'resume', 'held');

  it('hold the end back after a detach, and the module', async () => {
    const held = suspended();
    const tracing = await Tracing.start(held, { operations: ['write'] });
    hold();
    const write = writing(held);
    await sleep(500);
    await tracing.trace.detach();
    const all = collected(tracing.stream);
    assert.equal(await Promise.race([all, sleep(500, 'later')]), 'later');
    assert.match(attempt('rmmod', 'blkfilter_trace').stderr, /in use/);
    release();
    const { events, end } = await all;
    assert.deepEqual([events.length, end, await write], [1, 'detached', 0]);
    await tracing.device.close();
    dmRemove('held');
  });

  it('outlive a stream that was closed, whose module then stays until they are done', async () => {
    const held = suspended();
    const tracing = await Tracing.start(held, { operations: ['write'] });
    hold();
    const write = writing(held);
    await sleep(500);
    tracing.stream.close();
    // The next stream does not get what this one took.
    const next = await tracing.trace.open();
    await tracing.trace.detach();
    assert.deepEqual(await collected(next), { events: [], end: 'detached' });
    await tracing.device.close();
    assert.match(attempt('rmmod', 'blkfilter_trace').stderr, /in use/);
    release();
    assert.equal(await write, 0);
    await until('the module to be free', () => references('blkfilter_trace') === 0);
    run('rmmod', 'blkfilter_trace');
    run('modprobe', 'blkfilter_trace');
    dmRemove('held');
  });

  it('do not mind who comes and goes meanwhile', async (t) => {
    const load = spawn('fio', ['--name=load', `--filename=${DISK}`, '--direct=1', '--ioengine=libaio', '--rw=randrw', '--bs=4k-64k',
      '--size=64M', '--iodepth=16', '--time_based', '--runtime=1000', '--output=/dev/null']);
    t.after(() => load.kill());
    const ended = once(load, 'close');
    const device = await open(DISK);
    let events = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const trace = await device.attach('trace', { buffer: '64KiB', segments: round % 2 === 0, ...(round % 5 === 0 && { match: 'x' }) });
      const stream = await trace.open();
      for await (const batch of stream.batches()) {
        events += batch.length;
        if (round % 3 === 0) break;
        if (round % 3 === 1) stream.close();
        if (round % 3 === 2) await trace.detach().catch(() => undefined);
      }
      if (round % 3 !== 2) await trace.detach();
    }
    load.kill('SIGINT');
    await ended;
    await device.close();
    assert.ok(events > 0);
    await until('all to be done', () => references('blkfilter_trace') === 0);
  });
});
