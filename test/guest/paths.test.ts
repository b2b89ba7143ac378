// SPDX-License-Identifier: MIT
//
// The path table: each way that I/O can take to a device, with a witness on every device along it. The kernel's own
// statistics are the truth, or, where they do not know, the program that did the I/O: a witness must have seen as many
// sectors as its device has read and written, so that none was missed and none seen twice.
//
// It ends with the table, which test/matrix collects.
import assert from 'node:assert/strict';
import { release } from 'node:os';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import { clearDisks, prepareStacks, rows, type Levels, type Row, type Truth } from './support/paths.js';
import { sh } from './support/run.js';
import { LAST_WITNESS, liveWitnesses, loadWitness, unloadWitness, Watch, type Traffic } from './support/witness.js';

/** What sees bios inside the hook, and what they are redirected to. */
const WITNESSES = [{ sleeps: 0 }, { sleeps: 1 }];
const LEVELS = ['upper', 'middle', 'lower'];

/**
 * The two figures are not read at one moment, and some writes come late (md's superblock, thin's metadata, ext4's tables), so
 * they may differ for a while. A sector that was missed, or seen twice, makes them differ for good.
 */
async function settled(watch: Watch, truth?: Traffic): Promise<Awaited<ReturnType<Watch['compare']>>> {
  for (let tries = 0; ; tries++) {
    const figures = await watch.compare();
    if (truth) figures.counted = truth;
    if (tries === 200 || isDeepStrictEqual(figures.seen, figures.counted)) return figures;
    await sleep(50);
  }
}

/** A device's witness against the truth; throws what is wrong. */
async function judge(what: string, watch: Watch, zoned: boolean, truth?: Traffic): Promise<void> {
  const { seen, counted } = await settled(watch, truth);
  assert.deepEqual(seen, counted, what);
  assert.ok(seen.written > 0, `nothing was written: ${what}`);
  if (zoned) assert.ok(seen.zones > 0, `no operation on a zone: ${what}`);
}

/** Waits for all, also where one fails: a witness that stays, or a device that is still open, would fail all rows after this. */
async function all(promises: Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(promises);
  await Promise.all(promises);
}

/** Uses a stack with witnesses on all of it; tells by device what is wrong. */
async function mistakes(stack: Levels, { use, zoned, requests }: Row, kind: { sleeps: number }): Promise<Map<string, unknown>> {
  const top = stack[0]?.[0] ?? '';
  const witness = (device: string) => (requests && stack[2]?.includes(device) ? LAST_WITNESS : 'witness');
  const watches = new Map<string, Watch>();
  const wrong = new Map<string, unknown>();
  loadWitness({ witness: 1000, [LAST_WITNESS]: 500 }, kind);
  try {
    // At once: what attaching waits for is the same for all.
    const starts = [...new Set(stack.flat())].map(async (device) => watches.set(device, await Watch.start(device, witness(device))));
    await all(starts);
    const truth = (use(top, stack) as Truth | undefined) ?? {};
    sh('sync');
    for (const [device, watch] of watches) {
      const what = `on ${device}, sleeps: ${kind.sleeps}`;
      await judge(what, watch, !!zoned && device === top, truth[device]).catch((error: unknown) => wrong.set(device, error));
    }
  } finally {
    await all([...watches.values()].map((watch) => watch.stop()));
    assert.equal(liveWitnesses(), 0);
    unloadWitness();
  }
  return wrong;
}

describe('the path table', () => {
  const table: string[][] = [['path', ...LEVELS]];

  before(prepareStacks);
  after(() => {
    const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
    const lines = table.map((cells) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | '));
    process.stdout.write(`=== paths on ${release()}\n${lines.join('\n')}\n=== end of paths\n`);
    clearDisks();
  });

  for (const row of rows) {
    const { title, have, build, tear } = row;
    it(title, async (test) => {
      const cells = [title, ...LEVELS.map(() => 'FAILED')];
      table.push(cells);
      if (have && !have()) {
        cells.fill('not in this kernel', 1);
        test.skip('not in this kernel');
        return;
      }
      const verdicts = LEVELS.map(() => '-');
      const errors: unknown[] = [];
      const failed = (error: unknown) => {
        errors.push(error);
        verdicts.fill('FAILED');
      };
      for (const kind of WITNESSES) {
        const stack = await build();
        try {
          const wrong = await mistakes(stack, row, kind);
          errors.push(...wrong.values());
          stack.forEach((devices, level) => {
            if (devices.some((device) => wrong.has(device))) verdicts[level] = 'FAILED';
            else if (devices.length && verdicts[level] === '-') verdicts[level] = 'ok';
          });
        } catch (error) {
          failed(error);
        }
        // What fails here may be due to what failed before, which is told first.
        try {
          await tear?.(stack);
        } catch (error) {
          failed(error);
        }
      }
      cells.splice(1, LEVELS.length, ...verdicts);
      for (const error of errors) throw error;
    });
  }
});
