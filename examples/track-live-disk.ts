// SPDX-License-Identifier: MIT
//
// Tracks the changes of a disk that is in use: a file system on its partition is mounted and being written to when
// tracking is attached to the whole disk. Then a file is written, and what was reported as changed is checked against
// where the file really lies.
//
//     node track-live-disk.js [DISK]
//
// DISK (/dev/sda unless told) must be empty: it gets a partition and a file system.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open as openFile, readFile, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { SECTOR_SIZE, formatRange, formatSize, modules, open, type ChangeTracker, type Extent, type Mark } from 'blkfilter';

const disk = process.argv[2] ?? '/dev/sda';
const partition = /\d$/.test(disk) ? `${disk}p1` : `${disk}1`;
const run = promisify(execFile);

/** A run of a file's sectors, and where on the disk they lie. */
interface FilePart extends Extent {
  file: string;
  offset: number;
}

async function makeFileSystem(): Promise<void> {
  const { stdout } = await run('wipefs', ['--no-act', disk]);
  if (stdout !== '') throw new Error(`${disk} is not empty, and stays as it is:\n${stdout}`);
  const table = run('sfdisk', ['--quiet', disk]);
  table.child.stdin?.end('label: gpt\nstart=2048\n');
  await table;
  await run('udevadm', ['settle']).catch(() => sleep(500));
  await run('mkfs.ext4', ['-q', partition]);
}

/** Somebody else who keeps writing. */
function startWriter(path: string): () => Promise<void> {
  const stop = new AbortController();
  const writing = (async () => {
    const file = await openFile(path, 'w');
    try {
      while (!stop.signal.aborted) {
        await file.write(randomBytes(16 << 10), 0, 16 << 10, Math.floor(Math.random() * 256) * (16 << 10));
        await file.datasync();
      }
    } finally {
      await file.close();
    }
  })();
  return () => {
    stop.abort();
    return writing;
  };
}

async function writeFile(path: string, content: Buffer): Promise<void> {
  const file = await openFile(path, 'w');
  try {
    for (let offset = 0; offset < content.length; offset += 1 << 20) {
      await file.write(content, offset, Math.min(1 << 20, content.length - offset));
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Where a file lies, from the file system itself. */
async function layout(path: string): Promise<FilePart[]> {
  const start = Number(await readFile(`/sys/class/block/${basename(partition)}/start`, 'utf8'));
  const { stdout } = await run('filefrag', ['-v', `-b${SECTOR_SIZE}`, path]);
  const rows = stdout.matchAll(/^\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):/gm);
  return Array.from(rows, ([, logical, physical, length]) => ({
    file: basename(path),
    offset: Number(logical) * SECTOR_SIZE,
    sector: start + Number(physical),
    count: Number(length),
  }));
}

const overlaps = (a: Extent, b: Extent): boolean => a.sector < b.sector + b.count && b.sector < a.sector + a.count;

/** What of `parts` lies outside of the extents, which ascend. */
function uncovered(parts: Extent[], extents: Extent[]): Extent[] {
  return parts.flatMap((part) => {
    const gaps: Extent[] = [];
    let { sector } = part;
    for (const extent of extents.filter((one) => overlaps(one, part))) {
      if (extent.sector > sector) gaps.push({ sector, count: extent.sector - sector });
      sector = extent.sector + extent.count;
    }
    const end = part.sector + part.count;
    return sector < end ? [...gaps, { sector, count: end - sector }] : gaps;
  });
}

async function readExtents(tracker: ChangeTracker, since: Mark): Promise<Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of tracker.changes({ since })) extents.push(extent);
  return extents;
}

function printTable(extents: Extent[], parts: FilePart[]): void {
  console.log(`${'SECTORS'.padEnd(20)}${'SIZE'.padStart(10)}  HOLDS`);
  for (const extent of extents) {
    const holds = parts
      .filter((part) => overlaps(part, extent))
      .map((part) => {
        const first = Math.max(part.sector, extent.sector);
        const last = Math.min(part.sector + part.count, extent.sector + extent.count);
        const from = part.offset + (first - part.sector) * SECTOR_SIZE;
        return `${part.file}, bytes ${from}-${from + (last - first) * SECTOR_SIZE - 1}`;
      });
    const what = holds.join('; ') || 'of the file system itself';
    console.log(`${formatRange(extent).padEnd(20)}${formatSize(extent.count * SECTOR_SIZE).padStart(10)}  ${what}`);
  }
}

/** Fails unless the extents hold the whole file. */
function requireCovered(by: string, parts: FilePart[], extents: Extent[]): void {
  const missing = uncovered(parts, extents);
  const sectors = parts.reduce((sum, { count }) => sum + count, 0);
  if (sectors === 0) throw new Error('filefrag shows no blocks of the file');
  if (missing.length) throw new Error(`${by} did not report sectors ${missing.map(formatRange).join(', ')}`);
  console.log(`${by}: all ${sectors} sectors of the file are among the reported ones`);
}

/** Reads the file's blocks from the disk, past the file system: they must be what was written. */
async function requireContent(parts: FilePart[], content: Buffer): Promise<void> {
  const onDisk = createHash('sha256');
  for (const { sector, count } of parts) {
    const { stdout } = await run(
      'dd',
      [`if=${disk}`, 'iflag=direct,skip_bytes,count_bytes', 'bs=1M', `skip=${sector * SECTOR_SIZE}`, `count=${count * SECTOR_SIZE}`],
      { encoding: 'buffer', maxBuffer: content.length + (1 << 20) },
    );
    onDisk.update(stdout);
  }
  if (onDisk.digest('hex') !== createHash('sha256').update(content).digest('hex')) {
    throw new Error('the sectors of the file do not hold what was written');
  }
}

/** The same by the command line. */
async function changesByCommand(since: Mark): Promise<{ command: string; json: string }> {
  const main = fileURLToPath(new URL('cli/main.js', import.meta.resolve('blkfilter')));
  const args = ['changes', disk, '--since', since, '--json'];
  const { stdout } = await run(process.execPath, [main, ...args], { maxBuffer: 1 << 30 });
  return { command: `blkfilter ${args.join(' ')}`, json: stdout };
}

async function trackFile(folder: string): Promise<void> {
  const stopWriter = startWriter(join(folder, 'busy.bin'));
  try {
    await sleep(500);
    await using device = await open(disk);
    const tracker = await device.attach('cbt', { blockSize: '4KiB' });
    try {
      const { mark } = await tracker.checkpoint();
      console.log(`tracking ${disk} (${formatSize(await device.size())}), live, since ${mark}\n`);

      const path = join(folder, 'document.bin');
      const content = randomBytes(6 << 20);
      await writeFile(path, content);
      await stopWriter();
      await run('sync', ['-f', folder]);

      const parts = await layout(path);
      const extents = await readExtents(tracker, mark);
      printTable(extents, [...parts, ...(await layout(join(folder, 'busy.bin')))]);
      console.log();
      await requireContent(parts, content);
      requireCovered('tracker.changes()', parts, extents);
      const { command, json } = await changesByCommand(mark);
      requireCovered('blkfilter changes', parts, (JSON.parse(json) as { extents: Extent[] }).extents);
      console.log(`\n$ ${command}\n${json}`);
    } finally {
      await tracker.detach();
    }
  } finally {
    await stopWriter();
  }
}

await modules.load();
await makeFileSystem();
const folder = await mkdtemp(join(tmpdir(), 'blkfilter-'));
try {
  await run('mount', [partition, folder]);
  try {
    await trackFile(folder);
  } finally {
    await run('umount', [folder]);
  }
} finally {
  await rmdir(folder);
}
