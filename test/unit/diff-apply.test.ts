// SPDX-License-Identifier: MIT
// Applying diffs to files: what they hold then, what is known of them, and what is refused with nothing written.
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';

import { applyDiff, markParts, type BlkfilterError, type DiffSource } from 'blkfilter';
import { encode, type DiffRange } from '#lib/diff/format.js';
import { nameOf } from '#lib/diff/mark.js';

const KIB = 1024;
const GENERATION = '11111111-2222-3333-4444-555555555555';
const OTHER = '99999999-2222-3333-4444-555555555555';

const scratch = mkdtempSync(join(tmpdir(), 'blkfilter-apply-'));
const target = join(scratch, 'target');
const link = join(scratch, 'link');
const statePath = `${target}.blkfilter.json`;
after(() => rmSync(scratch, { recursive: true }));
beforeEach(() => {
  for (const path of [target, statePath]) rmSync(path, { force: true });
});

interface State {
  generation: string;
  epoch: number | null;
  complete: boolean;
  pending?: number;
}

/** What is known of the target; the rest of it is for sync. */
function state(): State | undefined {
  if (!existsSync(statePath)) return undefined;
  const { generation, epoch, complete, pending } = JSON.parse(readFileSync(statePath, 'utf8')) as State;
  return { generation, epoch, complete, ...(pending !== undefined && { pending }) };
}

/** Makes the state that of a run that was killed. */
function forgetTime(): void {
  const known = JSON.parse(readFileSync(statePath, 'utf8')) as { target: { modified?: string } };
  delete known.target.modified;
  writeFileSync(statePath, JSON.stringify(known));
}

const at = (epoch: number): State => ({ generation: GENERATION, epoch, complete: true });
const data = (offset: number, fill: string, length = 4 * KIB): DiffRange => ({
  offset,
  length,
  data: Buffer.alloc(length, fill),
});
const zeroes = (offset: number, length: number): DiffRange => ({ offset, length });
const mark = (epoch: number, generation = GENERATION): string => nameOf({ generation, epoch });

type Name = string | undefined;

async function diff(from: Name, to: Name, size: number, ranges: DiffRange[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of encode({ from, to, size }, ranges)) parts.push(part);
  return Buffer.concat(parts);
}

const full = await diff(undefined, mark(2), 64 * KIB, [
  data(0, 'a', 16 * KIB),
  zeroes(16 * KIB, 40 * KIB),
  data(56 * KIB, 'b'),
]);
const second = await diff(mark(2), mark(3), 64 * KIB, [
  data(4 * KIB, 'c'),
  zeroes(8 * KIB, 4 * KIB),
  data(60 * KIB, 'd'),
]);

/** The target as text: a letter for each 4 KiB that hold nothing else, `.` for zeroes. */
function contents(): string {
  const bytes = readFileSync(target);
  return Array.from({ length: bytes.length / (4 * KIB) }, (_, i) => {
    const block = bytes.subarray(i * 4 * KIB, (i + 1) * 4 * KIB);
    assert.ok(block.equals(Buffer.alloc(4 * KIB, block[0])), `block ${i}`);
    return block[0] === 0 ? '.' : String.fromCharCode(block[0] ?? 0);
  }).join('');
}

const AFTER_FULL = 'aaaa..........b.';
const AFTER_SECOND = 'ac.a..........bd';

function inFile(bytes: Buffer): string {
  const path = join(scratch, 'diff');
  writeFileSync(path, bytes);
  return path;
}

describe('applying a diff', () => {
  for (const [how, source] of [
    ['from a file', inFile],
    ['from a stream', (bytes: Buffer): Buffer[] => [bytes]],
  ] as const) {
    it(`${how}, all first, then what follows`, async () => {
      const first = await applyDiff(source(full), target);
      assert.deepEqual(first, {
        target, since: null, mark: `${GENERATION}:2`, size: 64 * KIB, copied: 20 * KIB, zeroed: 44 * KIB,
      });
      assert.deepEqual([contents(), state()], [AFTER_FULL, at(2)]);

      const next = await applyDiff(source(second), target);
      assert.deepEqual(next, {
        target, since: `${GENERATION}:2`, mark: `${GENERATION}:3`, size: 64 * KIB, copied: 8 * KIB, zeroed: 4 * KIB,
      });
      assert.deepEqual([contents(), state()], [AFTER_SECOND, at(3)]);
    });
  }

  it('makes zeroes holes, and of a diff of all what it says nothing of too', async () => {
    writeFileSync(target, Buffer.alloc(100 * KIB, 'x'));
    const sparse = await diff(undefined, mark(2), 64 * KIB, [data(8 * KIB, 'a'), zeroes(16 * KIB, 16 * KIB)]);
    const { copied, zeroed } = await applyDiff([sparse], target);
    assert.deepEqual([copied, zeroed], [4 * KIB, 60 * KIB]);
    assert.equal(contents(), '..a.............');
    assert.equal(statSync(target).blocks, 8);
  });

  it('gives the file the size of the device, larger or smaller', async () => {
    await applyDiff([full], target);
    await applyDiff([await diff(mark(2), mark(3), 16 * KIB, [data(0, 'c')])], target);
    assert.equal(contents(), 'caaa');
    await applyDiff([await diff(mark(3), mark(4), 32 * KIB, [data(28 * KIB, 'd')])], target);
    assert.equal(contents(), 'caaa...d');
  });

  it('keeps its state where it is told to', async () => {
    const options = { state: join(scratch, 'elsewhere') };
    await applyDiff([full], target, options);
    assert.equal(state(), undefined);
    await applyDiff([second], target, options);
    assert.equal(contents(), AFTER_SECOND);
  });

  it('takes names that are not its own, and then knows nothing of the target', async () => {
    await applyDiff([full], target);
    await applyDiff([await diff(undefined, 'monday', 64 * KIB, [data(0, 'e')])], target);
    assert.deepEqual([contents(), state()], ['e...............', undefined]);
    const tuesday = await diff('monday', undefined, 64 * KIB, [data(4 * KIB, 'f')]);
    const failure = { code: 'EMARK', message: /nothing is known .* builds on 'monday', which no diff of this package/ };
    await assert.rejects(applyDiff([tuesday], target), failure);
    const { since, mark } = await applyDiff([tuesday], target, { force: true });
    assert.deepEqual([contents(), state()], ['ef..............', undefined]);
    assert.deepEqual([since, mark], [null, null]);
  });
});

describe('a diff that is cut off', () => {
  it('in a file changes nothing, wherever that is', async () => {
    await applyDiff([full], target);
    const before = statSync(target, { bigint: true }).mtimeNs;
    for (let length = 0; length < second.length; length += 97) {
      const path = inFile(second.subarray(0, length));
      await assert.rejects(applyDiff(path, target), { code: 'EDIFF', path, message: /it is cut off/ });
    }
    assert.deepEqual([contents(), state()], [AFTER_FULL, at(2)]);
    assert.equal(statSync(target, { bigint: true }).mtimeNs, before);
    rmSync(target);
    await assert.rejects(applyDiff(inFile(full.subarray(0, 100)), target), { code: 'EDIFF' });
    assert.ok(!existsSync(target));
  });

  it('in a stream is applied as far as it goes, says how far, and can be applied again', async () => {
    await applyDiff([full], target);
    // Up to the 'e', which alone is missing.
    await assert.rejects(applyDiff([second.subarray(0, -1)], target), (error: BlkfilterError) => {
      assert.equal(error.code, 'EDIFF');
      const did = '8192 bytes of data and 4096 of zeroes';
      const said = `applied to the first 65536 bytes of the target (${did}), and no further: `;
      const cause = `at byte ${second.length - 1} of the diff: it is cut off, and there is more to come`;
      assert.equal(error.message, `EDIFF: ${said}${cause}`);
      assert.match(error.hint ?? '', /apply it again from its start/);
      return true;
    });
    // In the midst of the last record's data, which then is not written.
    const less = /first 12288 bytes .*\(4096 bytes of data and 4096 of/;
    await assert.rejects(applyDiff([second.subarray(0, -10)], target), less);
    const between = { generation: GENERATION, epoch: 2, complete: false, pending: 3 };
    assert.deepEqual([contents(), state()], [AFTER_SECOND, between]);

    const shorter = await diff(mark(2), mark(3), 64 * KIB, []).then((bytes) => [bytes]);
    const ranges = [4, 8, 60].map((kib) => data(kib * KIB, 'g'));
    const longer = await diff(mark(2), mark(4), 64 * KIB, ranges);
    await assert.rejects(applyDiff([longer.subarray(0, -1)], target), { code: 'EDIFF' });
    const inPart = { code: 'EMARK', message: /to epoch 4 was applied in part, and this/ };
    await assert.rejects(applyDiff(shorter, target), inPart);
    await assert.rejects(
      applyDiff([await diff(mark(3), mark(5), 64 * KIB, [])], target),
      { code: 'EMARK', message: /the target is at epoch 2 .* builds on epoch 3 / },
    );
    await applyDiff([longer], target);
    assert.deepEqual([contents(), state()], ['agga..........bg', at(4)]);
  });

  it('anywhere in a stream, is made good by all of it', async () => {
    for (let length = 0; length < second.length; length += 131) {
      await applyDiff([full], target);
      await assert.rejects(applyDiff([second.subarray(0, length)], target), { code: 'EDIFF' }, `${length} bytes`);
      await applyDiff(inFile(second), target);
      assert.deepEqual([contents(), state()], [AFTER_SECOND, at(3)]);
    }
  });

  it('though it is of all, leaves a target that only another of all can be applied to', async () => {
    await assert.rejects(applyDiff([full.subarray(0, 20_000)], target), { code: 'EDIFF' });
    assert.deepEqual(state(), { generation: GENERATION, epoch: null, complete: false, pending: 2 });
    await assert.rejects(applyDiff([second], target), { code: 'EMARK', message: /holds a part of a copy of all/ });
    await applyDiff([full], target);
    assert.deepEqual([contents(), state()], [AFTER_FULL, at(2)]);
  });

  it('as it gives the target another size, can be applied again', async () => {
    await applyDiff([full], target);
    const smaller = await diff(mark(2), mark(3), 16 * KIB, [data(0, 'c')]);
    await assert.rejects(applyDiff([smaller.subarray(0, -1)], target), { code: 'EDIFF' });
    assert.equal(statSync(target).size, 16 * KIB);
    // As if it had been killed before that.
    forgetTime();
    truncateSync(target, 64 * KIB);
    await applyDiff([smaller], target);
    assert.deepEqual([contents(), state()], ['caaa', at(3)]);
  });

  it('is not taken for what others write to the target later', async () => {
    await applyDiff([full], target);
    await assert.rejects(applyDiff([second.subarray(0, -1)], target), { code: 'EDIFF' });
    utimesSync(target, 1, 1);
    const failure = { code: 'EMARK', message: /somebody else has written to the target/ };
    await assert.rejects(applyDiff([second], target), failure);
    // Killed, it could not tell.
    forgetTime();
    await applyDiff([second], target);
    assert.deepEqual([contents(), state()], [AFTER_SECOND, at(3)]);
  });

  it('by its signal, can be applied again', async () => {
    await applyDiff([full], target);
    const controller = new AbortController();
    const reason = new Error('enough');
    const slow = (function* () {
      yield second.subarray(0, 5000);
      controller.abort(reason);
      yield second.subarray(5000);
    })();
    await assert.rejects(applyDiff(slow, target, { signal: controller.signal }), reason);
    assert.equal(state()?.pending, 3);
    await applyDiff([second], target);
    assert.deepEqual([contents(), state()], [AFTER_SECOND, at(3)]);
  });

  it('by its source, says so', async () => {
    await applyDiff([full], target);
    const source = (function* () {
      yield second.subarray(0, 5000);
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
    })();
    const message = /^EIO: applied to the first 12288 bytes of the target .*, and no further: i\/o error, read$/;
    await assert.rejects(applyDiff(source, target), { name: 'BlkfilterError', code: 'EIO', message });
  });
});

interface Row {
  title: string;
  prepare?: () => unknown;
  source?: DiffSource;
  to?: string;
  options?: object;
  code: string;
  words: RegExp;
  /** It can be done by force. */
  force?: string;
}

const known = (): Promise<unknown> => applyDiff([full], target);
const rows: Row[] = [
  { title: 'no target', code: 'ENOENT', words: /no target, and the diff builds on 'blkfilter-1{8}-.*-2'/ },
  {
    title: 'a target of which nothing is known',
    prepare: () => {
      writeFileSync(target, Buffer.alloc(64 * KIB, 'x'));
    },
    code: 'EMARK',
    words: /nothing is known of what the target holds, and the diff builds on epoch 2 of generation 1{8}/,
    force: 'xc.xxxxxxxxxxxxd',
  },
  {
    title: 'a target that somebody else wrote to',
    prepare: () => known().then(() => utimesSync(target, 1, 1)),
    code: 'EMARK',
    words: /somebody else has written to the target/,
    force: AFTER_SECOND,
  },
  {
    title: 'a target that is another one',
    prepare: async () => {
      await known();
      cpSync(target, `${target}.new`);
      renameSync(`${target}.new`, target);
    },
    code: 'EMARK',
    words: /is another one than was written to/,
    force: AFTER_SECOND,
  },
  {
    title: 'a diff that is later',
    prepare: known,
    source: [await diff(mark(3), mark(4), 64 * KIB, [data(0, 'e')])],
    code: 'EMARK',
    words: /the target is at epoch 2 of generation 1{8}-.*, and the diff builds on epoch 3 of generation 1{8}/,
    force: 'eaaa..........b.',
  },
  {
    title: 'a diff that has been applied',
    prepare: () => known().then(() => applyDiff([second], target)),
    code: 'EMARK',
    words: /is at epoch 3 .* builds on epoch 2 .*: it has been applied already/,
    force: AFTER_SECOND,
  },
  {
    title: 'a diff of another generation',
    prepare: known,
    source: [await diff(mark(2, OTHER), mark(3, OTHER), 64 * KIB, [data(0, 'e')])],
    code: 'EMARK',
    words: /at epoch 2 of generation 1{8}-.* epoch 2 of generation 9{8}-/,
    force: 'eaaa..........b.',
  },
  {
    title: 'a diff that leads from one generation to another',
    prepare: known,
    source: [await diff(mark(2), mark(3, OTHER), 64 * KIB, [])],
    code: 'EDIFF',
    words: /from epoch 2 of generation 1{8}-.* to epoch 3 of generation 9{8}-.*does not follow/,
  },
  {
    title: 'a diff that leads back',
    prepare: known,
    source: [await diff(mark(2), mark(2), 64 * KIB, [])],
    code: 'EDIFF',
    words: /does not follow/,
  },
  {
    title: 'a state that is damaged',
    prepare: () => known().then(() => writeFileSync(statePath, '{}')),
    code: 'EPROTO',
    words: /the state of the copy makes no sense/,
    force: AFTER_SECOND,
  },
  { title: 'no diff', source: join(scratch, 'none'), code: 'ENOENT', words: /no such file .*, open '.*none'/ },
  { title: 'a folder', source: scratch, code: 'EISDIR', words: /a folder, '/ },
  { title: 'a target that is a folder', source: [full], to: scratch, code: 'EINVAL', words: /neither a file nor/ },
  { title: 'a target in no folder', source: [full], to: '/no/such/target', code: 'ENOENT', words: /no such file/ },
  {
    title: 'a device that is not there',
    source: [full],
    to: '/dev/no-such-disk',
    code: 'ENOENT',
    words: /no such device, '\/dev\/no-such-disk'/,
  },
  {
    title: 'a link to a device that is not there',
    prepare: () => {
      symlinkSync('/dev/no-such-disk', link);
    },
    source: [full],
    to: link,
    code: 'EEXIST',
    words: /a link that leads nowhere/,
  },
  { title: 'nothing', source: [], code: 'EDIFF', words: /at byte 0 of the diff: it is cut off, within its header/ },
  { title: 'what is no diff', source: '/proc/self/cmdline', code: 'EDIFF', words: /is not the header of a diff/ },
  {
    title: 'text',
    source: ['rbd'] as unknown as Uint8Array[],
    code: 'ERR_BLKFILTER_ARGUMENT',
    words: /bytes, and not of strings/,
  },
  {
    title: 'an unknown option',
    options: { forse: true },
    code: 'ERR_BLKFILTER_ARGUMENT',
    words: /unknown option 'forse'/,
  },
];

describe('applying refuses', () => {
  for (const { title, prepare, source, to = target, options = {}, code, words, force } of rows) {
    it(title, async () => {
      await prepare?.();
      const files = (): unknown[] => [target, statePath].map((path) => existsSync(path) && readFileSync(path));
      const before = files();
      await assert.rejects(applyDiff(source ?? [second], to, options), (error: BlkfilterError) => {
        assert.deepEqual([error.name, error.code], ['BlkfilterError', code], error.message);
        assert.match(error.message, words);
        assert.ok(error.hint, 'no hint');
        return true;
      });
      assert.deepEqual(files(), before);

      if (force === undefined) return;
      const { mark } = await applyDiff(source ?? [second], to, { force: true });
      const { epoch = null } = mark ? markParts(mark) : {};
      assert.deepEqual([contents(), state()?.epoch, state()?.complete], [force, epoch, true]);
    });
  }

  it('the diff as its own target', async () => {
    const path = inFile(full);
    await assert.rejects(applyDiff(path, path), { code: 'EINVAL', message: /it is the diff itself/ });
    assert.ok(readFileSync(path).equals(full));
  });

  it('a target that another run writes to', async () => {
    let second: Promise<void> | undefined;
    const source = (function* () {
      yield full.subarray(0, 1000);
      second = assert.rejects(applyDiff([full], target), { code: 'EBUSY', message: /another run writes to it/ });
      yield full.subarray(1000);
    })();
    // Until the first has taken its target the second could be the first.
    const slow = (async function* () {
      for (const part of source) {
        yield part;
        await second;
      }
    })();
    await applyDiff(slow, target);
    assert.ok(second);
    assert.equal(contents(), AFTER_FULL);
  });
});
