// SPDX-License-Identifier: MIT
//
// The map of heat: what was written where in which epoch is known here, and the cells that follow are worked out from
// it, sector by sector, without a look at the library's own way.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { heatMap, open, type BlockDevice, type ChangeTracker, type Extent, type HeatMap } from 'blkfilter';

import { scatter } from './support/devices.js';
import { attempt, run } from './support/run.js';

const DISK = '/dev/sda';
const BLOCK = 8;
const SECTORS = 2 ** 21;

/** What is written in each epoch, from 1 on: sectors. */
const places: Extent[][] = [
  [{ sector: 0, count: 4096 }, { sector: 100_000, count: 2048 }],
  [{ sector: 1024, count: 1024 }],
  [],
  // Across the bounds of cells, and the last sector.
  [{ sector: 100_100, count: 3000 }, { sector: SECTORS - 1, count: 1 }],
  [{ sector: 1500, count: 8 }, { sector: 700_000, count: 16 }],
];

/** Of each block the epoch of its last change; 0: none. */
const model = new Uint32Array(SECTORS / BLOCK);

function written(extents: Extent[], epoch: number): void {
  for (const { sector, count } of extents) {
    for (let at = sector; at < sector + count; at++) model[Math.floor(at / BLOCK)] = epoch;
  }
}

function write({ sector, count }: Extent): void {
  run('dd', 'if=/dev/zero', `of=${DISK}`, 'bs=512', 'oflag=direct', `seek=${sector}`, `count=${count}`, 'status=none');
}

/** The cells of a range, for levels that begin with these epochs, newest first. */
function expectedCells({ sector, count }: Extent, cellSectors: number, since: number[]): HeatMap['cells'] {
  const cells: HeatMap['cells'] = [];
  const origin = sector - (sector % BLOCK);
  for (let at = sector; at < sector + count; at++) {
    const cell = (cells[Math.floor((at - origin) / cellSectors)] ??= {
      sector: at, count: 0, level: null, changed: since.map(() => 0), heat: 0,
    });
    cell.count++;
    const level = since.findIndex((epoch) => (model[Math.floor(at / BLOCK)] ?? 0) >= epoch);
    if (level < 0) continue;
    cell.level = Math.min(cell.level ?? level, level);
    cell.changed[level] = (cell.changed[level] ?? 0) + 1;
  }
  for (const cell of cells) cell.heat = cell.changed.reduce((sum, n, level) => sum + n / 2 ** level, 0) / cell.count;
  return cells;
}

describe('the map of heat', () => {
  let device: BlockDevice;
  let tracker: ChangeTracker;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'map-'));
    device = await open(DISK);
    assert.equal(await device.sectors(), SECTORS);
    tracker = await device.attach('cbt', { blockSize: '4KiB' });
    for (const [i, extents] of places.entries()) {
      if (i > 0) assert.equal((await tracker.checkpoint()).epoch, i + 1);
      extents.forEach(write);
      written(extents, i + 1);
    }
    written(scatter(DISK, { how: 'direct', threads: 1, count: 500, max: 65536, seed: 3 }), places.length);
  });

  after(async () => {
    await device.detach('cbt').catch(() => undefined);
    await device.close();
    rmSync(folder, { recursive: true });
  });

  const ranges: [what: string, range: { sector?: number; count?: number }, cells: number, cellSectors: number][] = [
    ['of the whole disk', {}, 1024, 2048],
    ['of few cells', {}, 3, 699_056],
    ['of a range within blocks', { sector: 99_997, count: 4005 }, 100, 48],
    ['of a range that ends beyond the device', { sector: SECTORS - 100, count: 1000 }, 10, 16],
    ['of fewer blocks than cells', { sector: 1496, count: 24 }, 1024, 8],
  ];
  for (const [what, range, cells, cellSectors] of ranges) {
    it(`${what} says what was written where, and when`, async () => {
      const map = await heatMap(tracker, { ...range, cells });
      const { generation } = await tracker.info();
      const since = [5, 4, 2, 1];
      const sector = range.sector ?? 0;
      const count = Math.min(SECTORS - sector, range.count ?? Infinity);
      const expected = expectedCells({ sector, count }, cellSectors, since);
      const { time, ...rest } = map;
      assert.ok(Math.abs(Date.now() - Date.parse(time)) < 60_000);
      assert.deepEqual(rest, {
        generation, gap: 'attached', overreported: 0, epoch: 5, sector, count, blockSectors: BLOCK, cellSectors,
        levels: since.map((first, level) => ({
          since: first,
          until: [5, 4, 3, 1][level],
          changedSectors: expected.reduce((sum, { changed }) => sum + (changed[level] ?? NaN), 0),
        })),
        cells: expected,
      });
    });
  }

  it('by the command line: a page, and the numbers', () => {
    const page = join(folder, 'map.html');
    const { stdout } = attempt('blkfilter', 'map', DISK, '--columns', '32', '--rows', '4', '--html', page, '--json');
    const { device, levels, cells } = JSON.parse(stdout) as HeatMap & { device: string };
    const whole = { sector: 0, count: SECTORS };
    assert.deepEqual({ device, cells }, { device: DISK, cells: expectedCells(whole, SECTORS / 128, [5, 4, 2, 1]) });
    assert.equal(levels.length, 4);
    const html = readFileSync(page, 'utf8');
    assert.match(html, /^<!doctype html>\n<html lang="en">[^]*<\/html>\n$/);
    assert.equal(html.match(/<g><title>/g)?.length, 128);
    assert.match(html, /<title>sectors 688128-704511, 8 MiB: [\d.]+ % in epoch 5 \(now\)/);
    assert.deepEqual(readdirSync(folder), ['map.html']);
  });

  it('by the command line: as text, as wide as 80 characters where there is no terminal', () => {
    const lines = run('blkfilter', 'map', DISK, '--range', '0-1048575').split('\n');
    assert.equal(lines[0], `${DISK}: where and when it changed`);
    // 131072 blocks in 72 columns and 16 rows: 114 a cell.
    const cells = expectedCells({ sector: 0, count: 2 ** 20 }, 114 * BLOCK, [5, 4, 2, 1]);
    const picture = cells.map(({ level }) => (level === null ? '·' : '█▆▄▂'.charAt(level))).join('');
    const rows = Array.from({ length: 16 }, (_, i) =>
      `${String(i * 72 * 114 * BLOCK).padStart(7)} ${picture.slice(i * 72, (i + 1) * 72)}`,
    );
    assert.deepEqual(lines.slice(5, 21), rows);
    assert.ok(lines.some((line) => line.startsWith('█ epoch 5 (now) ')), lines.join('\n'));
  });

  const wrong: [args: string[], status: number, code: string, message: RegExp][] = [
    [['--range', `${SECTORS}-`], 2, 'ERR_BLKFILTER_ARGUMENT', /beyond the device, which has 2097152/],
    [['--html', '/no/such/map.html'], 1, 'ENOENT', /no such file or directory/],
  ];
  for (const [args, status, code, message] of wrong) {
    it(`fails: ${args.join(' ')}`, () => {
      const ended = attempt('blkfilter', 'map', DISK, ...args, '--json');
      assert.deepEqual([ended.status, ended.stdout], [status, '']);
      const { error } = JSON.parse(ended.stderr) as { error: { code: string; message: string } };
      assert.equal(error.code, code);
      assert.match(error.message, message);
    });
  }

  it('needs cbt', async () => {
    await tracker.detach();
    await assert.rejects(heatMap(tracker), { code: 'ENOENT', hint: `attach it with \`blkfilter attach ${DISK} cbt\`` });
    assert.match(attempt('blkfilter', 'map', DISK).stderr, /^error: ENOENT: filter 'cbt' is not attached/);
  });
});
