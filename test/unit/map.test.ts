// SPDX-License-Identifier: MIT
// The map of heat: its numbers against a model that looks at each sector, and its drawings.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import {
  BlkfilterError,
  fittingColumns,
  heatMap,
  heatMapHtml,
  heatMapText,
  hottestAreas,
  type HeatMap,
  type HeatMapOptions,
} from 'blkfilter';
import type { NativeChanges } from '#lib/native.js';

import { FakeTracker, GENERATION, always } from './fake-tracker.js';

/** A device of blocks, by the epochs of their last changes; the last block may be cut. */
function tracked({ blocks, blockSectors = 1, cut = 0, epoch = 5 }: {
  blocks: number[];
  blockSectors?: number;
  cut?: number;
  epoch?: number;
}): FakeTracker {
  const sectors = blocks.flatMap((one) => Array<number>(blockSectors).fill(one));
  const tracker = new FakeTracker(sectors.slice(0, sectors.length - cut), always(100));
  tracker.state = { blockSize: 512 * blockSectors, epoch };
  return tracker;
}

const devices = fc
  .record({
    epoch: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 100, max: 2000 })),
    blockSectors: fc.constantFrom(1, 2, 8),
    length: fc.integer({ min: 1, max: 60 }),
  })
  .chain(({ epoch, blockSectors, length }) =>
    fc.record({
      epoch: fc.constant(epoch),
      blockSectors: fc.constant(blockSectors),
      cut: fc.nat({ max: blockSectors - 1 }),
      blocks: fc.array(fc.nat({ max: epoch }), { minLength: length, maxLength: length }),
    }),
  );

const maps = fc
  .tuple(devices, fc.integer({ min: 1, max: 80 }))
  .map(([device, cells]) => ({ tracker: tracked(device), cells }));

const fixed = async (): Promise<HeatMap> => ({
  ...(await heatMap(tracked({ blocks: [5, 5, 4, 4, 0, 0, 3, 0, 1, 0], blockSectors: 8, cut: 4 }), { cells: 5 })),
  time: '2026-01-02T03:04:05.678Z',
});

describe('a map', () => {
  it('counts as one that looks at each sector', async () => {
    await fc.assert(
      fc.asyncProperty(
        devices,
        fc.integer({ min: 1, max: 80 }),
        fc.nat(),
        fc.option(fc.integer({ min: 1, max: 500 }), { nil: undefined }),
        async (device, wanted, start, length) => {
          const tracker = tracked(device);
          const { epochs } = tracker;
          const sector = start % epochs.length;
          const map = await heatMap(tracker, { cells: wanted, sector, ...(length && { count: length }) });
          const end = Math.min(epochs.length, sector + (length ?? Infinity));
          assert.deepEqual([map.sector, map.count], [sector, end - sector]);

          const { blockSectors } = device;
          assert.deepEqual([map.blockSectors, map.cellSectors % blockSectors], [blockSectors, 0]);
          const first = Math.floor(sector / blockSectors);
          const blocks = Math.ceil(end / blockSectors) - first;
          assert.equal(map.cellSectors / blockSectors, Math.ceil(blocks / wanted));

          // Cell by cell, sector by sector.
          let at = sector;
          map.cells.forEach((cell, i) => {
            assert.equal(cell.sector, at);
            const own = epochs.slice(at, at + cell.count);
            const levels = own.map((epoch) => map.levels.findIndex(({ since }) => epoch >= since));
            const known = levels.filter((level) => level >= 0);
            assert.deepEqual(cell.changed, map.levels.map((_, level) => known.filter((one) => one === level).length));
            assert.equal(cell.level, known.length ? Math.min(...known) : null);
            assert.equal(cell.heat, known.reduce((sum, level) => sum + 2 ** -level, 0) / cell.count);
            at += cell.count;
            assert.equal(at, Math.min(end, first * blockSectors + (i + 1) * map.cellSectors));
          });
          assert.equal(at, end);
          assert.ok(map.cells.length <= wanted);
          map.levels.forEach(({ changedSectors }, level) => {
            assert.equal(changedSectors, map.cells.reduce((sum, { changed }) => sum + (changed[level] ?? NaN), 0));
          });
        },
      ),
    );
  });

  const spans: [epoch: number, since: number[]][] = [
    [1, [1]],
    [2, [2, 1]],
    [3, [3, 2, 1]],
    [4, [4, 3, 1]],
    [12, [12, 11, 9, 5, 1]],
    [128, [128, 127, 125, 121, 113, 97, 65, 1]],
    [129, [129, 126, 114, 66, 1]],
    [2 ** 31, [0, 5, 10, 15, 20, 25, 30].map((power) => 2 ** 31 - 2 ** power + 1).concat(1)],
  ];
  for (const [epoch, since] of spans) {
    it(`has levels of all epochs, the newest the current one: of ${epoch}`, async () => {
      const { levels } = await heatMap(tracked({ blocks: [0], epoch }));
      assert.deepEqual(levels.map((level) => level.since), since);
      const until = [epoch, ...since.slice(0, -1).map((one) => one - 1)];
      assert.deepEqual(levels.map((level) => level.until), until);
    });
  }

  it('is of whole blocks, though there are fewer than cells asked for', async () => {
    const map = await heatMap(tracked({ blocks: [1, 0, 2], blockSectors: 8 }), { cells: 65536 });
    assert.deepEqual(map.cells.map(({ sector, count }) => [sector, count]), [[0, 8], [8, 8], [16, 8]]);
  });

  it('is of 64 TiB in an instant, exact to the sector', async () => {
    const end = 2 ** 37;
    const tracker = tracked({ blocks: [], blockSectors: 128, epoch: 2 });
    tracker.state = { ...tracker.state, sectors: end };
    tracker.readChanges = (_, since): Promise<NativeChanges> => {
      const extents = new Float64Array(since === 2 ? [end - 128, 128] : [0, end]);
      return Promise.resolve({ generation: GENERATION, epoch: 2, cursor: end, end, extents });
    };
    const { cellSectors, levels, cells } = await heatMap(tracker);
    assert.deepEqual([cells.length, cellSectors], [1024, end / 1024]);
    assert.deepEqual(levels.map(({ changedSectors }) => changedSectors), [128, end - 128]);
    assert.deepEqual(cells.at(-1)?.changed, [128, cellSectors - 128]);
    assert.ok(cells.slice(0, -1).every(({ level, changed }) => level === 1 && changed[1] === cellSectors));
  });

  it('loses nothing that changes while it is read', async () => {
    const tracker = tracked({ blocks: [1, 1, 1, 0], epoch: 3 });
    const read = tracker.readChanges.bind(tracker);
    tracker.readChanges = (...args) => {
      const answer = read(...args);
      if (tracker.reads.length === 1) {
        [0, 3].forEach((block) => (tracker.epochs[block] = 4));
        tracker.state = { ...tracker.state, epoch: 4 };
      }
      return answer;
    };
    const { epoch, levels, cells } = await heatMap(tracker);
    assert.equal(epoch, 3);
    assert.deepEqual(levels.map(({ since, until }) => [since, until]), [[3, 4], [2, 2], [1, 1]]);
    assert.deepEqual(cells.map(({ level }) => level), [1, 2, 2, 1]);
  });

  it('has no less than nothing of a device that shrinks while it is read', async () => {
    const tracker = tracked({ blocks: [3, 1, 1, 3], epoch: 3 });
    const read = tracker.readChanges.bind(tracker);
    tracker.readChanges = (...args) => {
      const answer = read(...args);
      tracker.epochs.length = 2;
      return answer;
    };
    const { cells } = await heatMap(tracker);
    assert.deepEqual(cells.map(({ changed }) => changed), [[1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]);
  });

  it('is of one generation', async () => {
    const tracker = tracked({ blocks: [1] });
    tracker.readChanges = () => Promise.reject(new BlkfilterError({ code: 'EGENERATION', reason: 'a gap' }));
    const expected = { code: 'EGENERATION', message: /while the map was read/, hint: 'map it again' };
    await assert.rejects(heatMap(tracker), expected);
    assert.deepEqual(tracker.reads, []);
  });

  it('stops when the signal is aborted', async () => {
    const tracker = tracked({ blocks: [1] });
    const reason = new Error('enough');
    await assert.rejects(heatMap(tracker, { signal: AbortSignal.abort(reason) }), reason);
    assert.deepEqual(tracker.reads, []);
  });

  const wrong: [options: unknown, message: RegExp][] = [
    [{ cells: 0 }, /map\.cells/],
    [{ cells: 1.5 }, /map\.cells/],
    [{ cells: 65537 }, /map\.cells: more than 65536/],
    [{ sector: -1 }, /map\.sector/],
    [{ sector: 3 }, /sector 3 is beyond the device, which has 3/],
    [{ count: 0 }, /map\.count/],
    [{ sector: 2 ** 53 }, /map\.sector/],
    [{ columns: 5 }, /unknown option 'columns'/],
    [{ signal: 'stop' }, /map\.signal/],
    [null, /map/],
  ];
  for (const [options, message] of wrong) {
    it(`is not made of ${JSON.stringify(options)}`, async () => {
      const tracker = tracked({ blocks: [1, 1, 1] });
      await assert.rejects(heatMap(tracker, options as HeatMapOptions), { code: 'ERR_BLKFILTER_ARGUMENT', message });
      assert.deepEqual(tracker.reads, []);
    });
  }
});

describe('the hottest areas', () => {
  it('are all that has heat, the hottest first, each once', async () => {
    await fc.assert(
      fc.asyncProperty(maps, async ({ tracker, cells }) => {
        const map = await heatMap(tracker, { cells });
        const areas = hottestAreas(map, Infinity);
        areas.slice(1).forEach((area, i) => assert.ok(area.heat <= (areas[i]?.heat ?? NaN)));
        const within = map.cells.filter(({ sector }) =>
          areas.some((area) => sector >= area.sector && sector < area.sector + area.count),
        );
        assert.deepEqual(within, map.cells.filter(({ heat }) => heat > 0));
        const sum = (all: { changed: number[] }[]) => all.flatMap(({ changed }) => changed).reduce((a, b) => a + b, 0);
        assert.equal(sum(areas), sum(map.cells));
      }),
    );
  });

  it('join neighbours in the same band of heat, and no others', async () => {
    const map = await heatMap(tracked({ blocks: [5, 4, 3, 5, 0, 5, 5] }));
    const places = hottestAreas(map, 9).map(({ sector, count, heat, level }) => [sector, count, heat, level]);
    assert.deepEqual(places, [[3, 1, 1, 0], [5, 2, 1, 0], [0, 2, 0.75, 0], [2, 1, 0.25, 2]]);
    assert.equal(hottestAreas(map, 1).length, 1);
  });
});

describe('the map as text', () => {
  it('is always the same', async () => {
    assert.equal(
      heatMapText(await fixed(), { device: '/dev/fake', columns: 4 }),
      `/dev/fake: where and when it changed
sectors 0 to 75 (38 KiB), a cell for each 8 KiB, in blocks of 4 KiB
epoch 5 of generation ${GENERATION}
read 2026-01-02T03:04:05.678Z

 0 █▆·▄
64 ▂

  CELL LAST CHANGED IN              SECTORS THAT DID
█ epoch 5 (now)                     8 KiB
▆ epoch 4                           8 KiB
▄ epochs 2 to 3                     4 KiB
▂ epoch 1 (since cbt was attached)  4 KiB
· never since cbt was attached      14 KiB

HOTTEST SECTORS  SIZE    HEAT    CHANGED  LAST CHANGED IN
0-31             16 KiB  75 %    100 %    epoch 5 (now)
48-63            8 KiB   12.5 %  50 %     epochs 2 to 3
64-75            6 KiB   8.3 %   66.6 %   epoch 1 (since cbt was attached)

Heat: the share that changed; each line of epochs counts half of the one before.`,
    );
  });

  it('colours neighbours of one heat at once, and says what the colours mean', async () => {
    const paint = (style: string, text: string): string => `<${style}>${text}</>`;
    const lines = heatMapText(await fixed(), { device: '/dev/fake', columns: 80, paint }).split('\n');
    assert.equal(lines[5], ' 0 <red>█▆</>·<green>▄</><cyan>▂</>');
    const heat = 'heat: <blue>█ under 1 %</>  <cyan>█ 1 % to 10 %</>  <green>█ 10 % to 25 %</>  ';
    assert.ok(lines.includes(`${heat}<yellow>█ 25 % to 50 %</>  <red>█ 50 % to 100 %</>`));
  });

  it('has a sign for each cell', async () => {
    await fc.assert(
      fc.asyncProperty(maps, fc.integer({ min: 1, max: 100 }), async ({ tracker, cells }, columns) => {
        const map = await heatMap(tracker, { cells });
        const text = heatMapText(map, { device: '/dev/fake', columns });
        const found = text.matchAll(/^ *(\d+) ([▁-█·]+)$/gmu);
        const lines = Array.from(found, ([, first = '', bars = '']) => [+first, bars.length]);
        const expected = map.cells.flatMap(({ sector }, i) =>
          i % columns === 0 ? [[sector, Math.min(columns, map.cells.length - i)]] : [],
        );
        assert.deepEqual(lines, expected);
      }),
    );
  });

  it('says when more may be shown than changed', async () => {
    const map = { ...(await fixed()), gap: 'bypassed', overreported: 3 };
    const text = heatMapText(map, { device: '/dev/fake', columns: 80 });
    assert.match(text, /^all counts as changed in the epoch in which .* because .*SG_IO/m);
    assert.match(text, /^whole areas were recorded as changed 3 times/m);
  });

  it('fits the terminal', () => {
    assert.equal(fittingColumns(80, 2 ** 37), 67);
    assert.equal(fittingColumns(80, 8), 78);
    assert.equal(fittingColumns(3, 2 ** 37), 1);
  });
});

/** The elements of a page, each with what is in it; throws if they do not nest. */
function parse(html: string): { name: string; text: string }[] {
  const elements: { name: string; text: string }[] = [];
  const open: { name: string; text: string }[] = [];
  const rest = html.replace(/^<!doctype html>\n/, '').replace(
    /<(\/?)([a-z]\w*)((?: [\w-]+="[^"<>]*")*)( \/)?>|([^<>]+)/gi,
    (_, end: string, name?: string, attributes?: string, empty?: string, text?: string) => {
      for (const words of [text, attributes]) assert.doesNotMatch(words ?? '', /&(?!(amp|lt|gt|quot|#39);)/);
      if (name === undefined) {
        const at = open.at(-1);
        if (at) at.text += text ?? '';
        else assert.equal(text?.trim(), '');
      } else if (end) {
        assert.equal(open.pop()?.name, name);
      } else {
        const element = { name, text: '' };
        elements.push(element);
        if (!empty) open.push(element);
      }
      return '';
    },
  );
  assert.deepEqual({ rest, open }, { rest: '', open: [] });
  return elements;
}

const unescaped = (text: string): string => {
  const signs: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
  return text.replace(/&([^;]+);/g, (_, name: string) => signs[name] ?? '?');
};

describe('the map as a page', () => {
  it('is well-formed, whatever the device is called, and has a title for each cell', async () => {
    const names = fc.oneof(fc.string(), fc.stringMatching(/^[<>&"'/a-z; ]*$/));
    await fc.assert(
      fc.asyncProperty(maps, names, fc.integer({ min: 1, max: 100 }), async ({ tracker, cells }, device, columns) => {
        const map = await heatMap(tracker, { cells });
        const elements = parse(heatMapHtml(map, { device, columns }));
        const texts = (name: string) => elements.filter((one) => one.name === name).map(({ text }) => unescaped(text));
        assert.deepEqual(texts('h1'), [`${device}: where and when it changed`]);
        assert.equal(texts('g').length, map.cells.length);
        // One of the page, one of the picture.
        const titles = texts('title').slice(2);
        assert.deepEqual(
          titles.map((title) => /^sectors (\d+)-/.exec(title)?.[1]),
          map.cells.map(({ sector }) => String(sector)),
        );
      }),
    );
  });

  it('is always the same, and fetches nothing', async () => {
    const page = async () => heatMapHtml(await fixed(), { device: '/dev/fake', columns: 4 });
    assert.equal(await page(), await page());
    assert.doesNotMatch(await page(), /https?:|src=|href=|url\(|@import|<script/);
  });

  it('says of each cell when how much of it changed', async () => {
    const elements = parse(heatMapHtml(await fixed(), { device: '/dev/fake', columns: 4 }));
    assert.deepEqual(elements.filter(({ name }) => name === 'title').slice(2).map(({ text }) => text), [
      'sectors 0-15, 8 KiB: 100 % in epoch 5 (now); heat 100 %',
      'sectors 16-31, 8 KiB: 100 % in epoch 4; heat 50 %',
      'sectors 32-47, 8 KiB: never since cbt was attached',
      'sectors 48-63, 8 KiB: 50 % in epochs 2 to 3; heat 12.5 %',
      'sectors 64-75, 6 KiB: 66.6 % in epoch 1 (since cbt was attached); heat 8.3 %',
    ]);
  });
});
