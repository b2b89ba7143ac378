// SPDX-License-Identifier: MIT
//
// Follows a text to the disk and back: it is written to a file, and nothing is seen, because it is in memory only; it is
// synced, and there is the write, with the number of times that the text occurs in it; the caches are dropped and the
// file is read, and there is the read, at the same sectors. They are the ones that the file system tells.
//
//     node trace-a-file.js [DISK]
//
// DISK (/dev/sda unless told) must be empty: it gets a file system.
import { execFile } from 'node:child_process';
import { mkdtemp, open as openFile, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { SECTOR_SIZE, formatRange, modules, open, type TraceEvent } from 'blkfilter';

const disk = process.argv[2] ?? '/dev/sda';
const run = promisify(execFile);

const TEXT = 'a needle in a haystack of blocks';
/** With its end, 64 bytes: no line lies in two sectors, so none is in two requests. */
const LINE = TEXT.padEnd(63, '.');
const LINES = 1000;

async function makeFileSystem(): Promise<void> {
  const { stdout } = await run('wipefs', ['--no-act', disk]);
  if (stdout !== '') throw new Error(`${disk} is not empty, and stays as it is:\n${stdout}`);
  await run('mkfs.ext4', ['-q', disk]);
}

/** The events in which the text occurs, as they come in. */
class Findings {
  readonly events: TraceEvent[] = [];
  #shown = 0;

  add(event: TraceEvent): void {
    if (event.matches > 0) this.events.push(event);
  }

  /** Waits until it has occurred so often in such requests, and prints those that are new. */
  async expect(what: string, operation: string, occurrences: number): Promise<TraceEvent[]> {
    const found = (): TraceEvent[] => this.events.slice(this.#shown).filter((event) => event.operation === operation);
    const sum = (): number => found().reduce((all, { matches }) => all + matches, 0);
    for (let tries = 0; tries < 100 && (occurrences === 0 ? tries < 20 : sum() < occurrences); tries++) await sleep(100);
    const events = found();
    this.#shown = this.events.length;
    console.log(`${what}:`);
    if (events.length === 0) console.log('  nothing');
    for (const { comm, sector, count, latency, flags, matches } of events) {
      const how = [operation, ...flags].join(' ');
      const took = (latency / 1e6).toFixed(3);
      console.log(`  ${how} of sectors ${formatRange({ sector, count })} by ${comm}, ${took} ms: the text ${matches} times`);
    }
    const total = events.reduce((all, { matches }) => all + matches, 0);
    if (total !== occurrences) throw new Error(`the text occurred ${total} times, not ${occurrences}`);
    return events;
  }
}

/** The sectors of a file, from the file system itself, or of events. */
const sorted = (sectors: number[]): string => [...new Set(sectors)].sort((a, b) => a - b).join();
const series = (sector: number, count: number): number[] => Array.from({ length: count }, (_, i) => sector + i);
const sectorsOf = (events: TraceEvent[]): string => sorted(events.flatMap(({ sector, count }) => series(sector, count)));

async function layout(path: string): Promise<string> {
  const { stdout } = await run('filefrag', ['-v', `-b${SECTOR_SIZE}`, path]);
  const rows = stdout.matchAll(/^\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):/gm);
  return sorted(Array.from(rows, ([, sector, count]) => series(Number(sector), Number(count))).flat());
}

async function tour(folder: string): Promise<void> {
  await using device = await open(disk);
  const trace = await device.attach('trace', { match: TEXT });
  const findings = new Findings();
  const stream = await trace.open();
  const reading = (async () => {
    for await (const event of stream) findings.add(event);
  })();
  try {
    const path = join(folder, 'haystack');
    await writeFile(path, `${LINE}\n`.repeat(LINES));
    await findings.expect(`written to ${path}`, 'write', 0);

    const file = await openFile(path);
    await file.sync();
    await file.close();
    const writes = await findings.expect('synced', 'write', LINES);

    await writeFile('/proc/sys/vm/drop_caches', '3');
    await readFile(path);
    const reads = await findings.expect('read again, after the caches were dropped', 'read', LINES);

    const expected = await layout(path);
    if (sectorsOf(writes) !== expected) throw new Error('the sectors written are not those of the file');
    if (sectorsOf(reads) !== expected) throw new Error('the sectors read are not those of the file');
    console.log(`all of them are the ${expected.split(',').length} sectors of the file, as filefrag tells`);
  } finally {
    await trace.detach();
    await reading;
  }
  if (stream.ended !== 'detached') throw new Error('the stream has not ended by the detach');
  if (stream.dropped > 0) throw new Error(`${stream.dropped} events were lost`);
}

await modules.load();
await makeFileSystem();
const folder = await mkdtemp(join(tmpdir(), 'blkfilter-'));
try {
  await run('mount', [disk, folder]);
  try {
    await tour(folder);
  } finally {
    await run('umount', [folder]);
  }
} finally {
  await rmdir(folder);
}
