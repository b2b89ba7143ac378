// SPDX-License-Identifier: MIT
// Marks, and what people write for them.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import fc from 'fast-check';

import { diffMark, markOf, markParts, parseMark, type BlkfilterError } from 'blkfilter';
import { encode } from '#lib/diff/format.js';
import { nameOf } from '#lib/diff/mark.js';
import { checkpointName, shortMark } from '#lib/mark.js';

const GENERATION = '1adf10b8-b9c3-477e-8263-789401e6c25e';

const parts = fc.record({ generation: fc.uuid(), epoch: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }) });

describe('a mark', () => {
  it('is read as it was written, in either case', () => {
    fc.assert(
      fc.property(parts, (of) => {
        const mark = markOf(of);
        assert.equal(mark, `${of.generation}:${of.epoch}`);
        assert.equal(parseMark(mark.toUpperCase()), mark);
        assert.deepEqual(markParts(parseMark(mark)), { ...of });
      }),
    );
  });

  it('may be cut short to 8 digits of its generation, and no further', () => {
    fc.assert(
      fc.property(parts, fc.integer({ min: 1, max: 36 }), ({ generation, epoch }, length) => {
        const cut = generation.slice(0, length);
        assert.deepEqual(shortMark(`${cut}:${epoch}`), length < 8 ? undefined : { generation: cut, epoch });
        if (length < 36) assert.throws(() => parseMark(`${cut}:${epoch}`), { code: 'ERR_BLKFILTER_ARGUMENT' });
      }),
    );
  });

  for (const text of [
    '',
    '3',
    GENERATION,
    `${GENERATION}:`,
    `${GENERATION}:0`,
    `${GENERATION}:03`,
    `${GENERATION}:-3`,
    `${GENERATION}:3 `,
    `${GENERATION}:3\n`,
    `${GENERATION}:3e2`,
    `${GENERATION}:9007199254740993`,
    ` ${GENERATION}:3`,
    `${GENERATION}0:3`,
    `${GENERATION.replace('a', 'g')}:3`,
    `${GENERATION.replaceAll('-', '')}:3`,
    `00000000-0000-0000-0000-000000000000:3`,
  ]) {
    it(`is not '${text}'`, () => {
      assert.throws(() => parseMark(text), { code: 'ERR_BLKFILTER_ARGUMENT', message: /is no mark, GENERATION:EPOCH/ });
      assert.equal(shortMark(text), undefined);
    });
  }
});

describe('the name of a checkpoint', () => {
  it('is never a number, a mark, an option or a path', () => {
    const text = fc.oneof(fc.string(), fc.nat().map(String), parts.map(markOf), fc.stringMatching(/^[aZ_09.:/-]*$/));
    fc.assert(
      fc.property(text, (name) => {
        const taken = checkpointName.safeParse(name).success;
        assert.equal(taken, /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/.test(name) && !name.endsWith('\n'));
        if (taken) assert.ok(!/^[\d-]|[:./]/.test(name) && shortMark(name) === undefined);
      }),
    );
  });
});

describe('the mark of a diff', () => {
  const folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
  const path = join(folder, 'a.diff');
  after(() => {
    rmSync(folder, { recursive: true });
  });

  async function write(to: string | undefined, cut = 0): Promise<void> {
    const bytes: Buffer[] = [];
    for await (const part of encode({ to, size: 8192 }, [{ offset: 0, length: 4096 }])) bytes.push(part);
    writeFileSync(path, Buffer.concat(bytes).subarray(0, cut ? -cut : undefined));
  }

  it('is the one that it leads to', async () => {
    await write(nameOf({ generation: GENERATION, epoch: 7 }));
    assert.equal(await diffMark(path), `${GENERATION}:7`);
  });

  for (const [title, to, cut, words] of [
    ['of another program', 'monday', 0, /leads to 'monday', which is no mark/],
    ['that does not say', undefined, 0, /does not say where it leads to/],
    ['that is cut off', nameOf({ generation: GENERATION, epoch: 7 }), 1, /cut off/],
  ] as const) {
    it(`is not known of one ${title}`, async () => {
      await write(to, cut);
      await assert.rejects(diffMark(path), (error: BlkfilterError) => {
        assert.deepEqual([error.code, error.path], ['EDIFF', path]);
        assert.match(error.message, words);
        return true;
      });
    });
  }

  it('is not known of no file', async () => {
    await assert.rejects(diffMark(join(folder, 'none.diff')), { code: 'ENOENT' });
  });
});
