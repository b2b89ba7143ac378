// SPDX-License-Identifier: MIT
// The format of diffs: what is written is read, by rbd too; and what cannot be read is an error that says where.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import fc from 'fast-check';

import { BlkfilterError } from 'blkfilter';
import { DiffReader, encode, type DiffHeader, type DiffRange } from '#lib/diff/format.js';
import { FileInput, StreamInput, type Input } from '#lib/diff/input.js';
import { nameOf, partsNamed } from '#lib/diff/mark.js';

const scratch = mkdtempSync(join(tmpdir(), 'blkfilter-diff-'));
after(() => rmSync(scratch, { recursive: true }));

interface Diff {
  header: DiffHeader;
  ranges: DiffRange[];
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
}

const bytesOf = async ({ header, ranges }: Diff): Promise<Buffer> =>
  Buffer.concat(await collect(encode(header, ranges)));

async function read(input: Input): Promise<Diff> {
  const reader = await DiffReader.open(input);
  return { header: reader.header, ranges: await collect(reader.ranges()) };
}

async function check(input: Input): Promise<DiffHeader> {
  const reader = await DiffReader.open(input);
  await reader.check();
  return reader.header;
}

async function withFile<T>(bytes: Buffer, use: (input: FileInput) => Promise<T>): Promise<T> {
  const path = join(scratch, 'diff');
  writeFileSync(path, bytes);
  const input = await FileInput.of(await open(path));
  return use(input).finally(() => input.close());
}

/** The bytes, cut into chunks of these lengths in turns. */
function* cut(bytes: Buffer, lengths: number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

/** An image after a diff that builds on `before`. */
function apply({ header, ranges }: Diff, before: Buffer): Buffer {
  const image = Buffer.alloc(header.size);
  before.copy(image);
  for (const { offset, length, data } of ranges) image.fill(data ?? 0, offset, offset + length);
  return image;
}

/** Diffs that hold ranges of up to 40 bytes with gaps of up to 20 between, some of which touch. */
const diffs = (from?: string, to?: string): fc.Arbitrary<Diff> =>
  fc
    .record({
      spans: fc.array(fc.tuple(fc.nat({ max: 20 }), fc.integer({ min: 1, max: 40 }), fc.option(fc.nat({ max: 255 }))), {
        maxLength: 12,
      }),
      tail: fc.nat({ max: 50 }),
    })
    .map(({ spans, tail }) => {
      let end = 0;
      const ranges = spans.map(([gap, length, fill]): DiffRange => {
        const offset = end + gap;
        end = offset + length;
        return { offset, length, ...(fill !== null && { data: Buffer.alloc(length, fill) }) };
      });
      const header = { ...(from !== undefined && { from }), ...(to !== undefined && { to }), size: end + tail };
      return { header, ranges };
    });

const small: Diff = {
  header: { from: 'a', to: 'ü', size: 1 << 20 },
  ranges: [
    { offset: 512, length: 8, data: Buffer.from('contents') },
    { offset: 4096, length: 4096 },
    { offset: 8192, length: 1, data: Buffer.from([0]) },
  ],
};

describe('a diff', () => {
  it('is written as Ceph describes it', async () => {
    const u64 = (value: number) => Buffer.from(new BigUint64Array([BigInt(value)]).buffer);
    const expected = Buffer.concat([
      Buffer.from('rbd diff v1\nf\x01\0\0\0at\x02\0\0\0üs'),
      u64(1 << 20),
      Buffer.from('w'), u64(512), u64(8), Buffer.from('contents'),
      Buffer.from('z'), u64(4096), u64(4096),
      Buffer.from('w'), u64(8192), u64(1), Buffer.from('\0e'),
    ]);
    assert.deepEqual(await bytesOf(small), expected);
    const nothing = Buffer.from('rbd diff v1\ns\0\0\0\0\0\0\0\0e');
    assert.deepEqual(await bytesOf({ header: { size: 0 }, ranges: [] }), nothing);
  });

  it('is read as it was written, however it is cut', async () => {
    const lengths = fc.array(fc.nat({ max: 30 }), { minLength: 1 }).filter((some) => some.some((length) => length > 0));
    await fc.assert(
      fc.asyncProperty(diffs('before', 'after'), lengths, async (diff, pieces) => {
        const bytes = await bytesOf(diff);
        const { header, ranges } = await read(new StreamInput(cut(bytes, pieces)));
        assert.deepEqual(header, diff.header);
        assert.deepEqual(apply({ header, ranges }, Buffer.alloc(0)), apply(diff, Buffer.alloc(0)));
        assert.deepEqual(await bytesOf({ header, ranges }), bytes);
        assert.deepEqual(await check(new StreamInput([bytes])), diff.header);
        await withFile(bytes, async (input) => {
          assert.deepEqual(await check(input), diff.header);
          assert.equal(input.position, bytes.length);
          input.rewind();
          assert.deepEqual(await read(input), { header, ranges });
        });
      }),
      { numRuns: 50 },
    );
  });

  it('takes the records that come before the data in any order, or none but the size', async () => {
    const bytes = Buffer.from('rbd diff v1\ns\x01\0\0\0\0\0\0\0t\0\0\0\0e');
    assert.deepEqual(await read(new StreamInput([bytes])), { header: { size: 1, to: '' }, ranges: [] });
  });

  it('puts zeroes that touch together, up to 1 GiB', async () => {
    const MIB = 1 << 20;
    const size = 3 * 1024 * MIB;
    const ranges = Array.from({ length: size / (128 * MIB) }, (_, i) => ({ offset: i * 128 * MIB, length: 128 * MIB }));
    const { ranges: written } = await read(new StreamInput(await collect(encode({ size }, ranges))));
    assert.deepEqual(written, [0, 1, 2].map((i) => ({ offset: i * 1024 * MIB, length: 1024 * MIB })));
  });

  it('gives large data in parts, and a file that is only looked at gives none', async () => {
    const MIB = 1 << 20;
    const head = (length: number): Promise<Buffer[]> => collect(encode({ size: 2 ** 40 }, [{ offset: 0, length }]));
    const [banner, record] = await head(2 ** 30);
    const rest = Buffer.from(record ?? []);
    rest.write('w');
    rest.writeBigUInt64LE(2n ** 39n, 9);

    // Half a TiB is said to come, and does not.
    const lengths: number[] = [];
    const reader = await DiffReader.open(new StreamInput([banner ?? rest, rest, Buffer.alloc(5 * MIB)]));
    await assert.rejects(async () => {
      for await (const { length } of reader.ranges()) lengths.push(length);
    }, { code: 'EDIFF', message: /cut off/ });
    assert.deepEqual(lengths, Array<number>(5).fill(MIB));

    // A file with a hole of half a TiB, which nobody could read in this time.
    const path = join(scratch, 'sparse');
    const file = await open(path, 'w+');
    const { length: begin } = Buffer.concat([banner ?? rest, rest]);
    await file.write(Buffer.concat([banner ?? rest, rest]));
    await file.write('e', begin + 2 ** 39);
    const input = await FileInput.of(file);
    assert.deepEqual(await check(input), { size: 2 ** 40 });
    assert.equal(input.position, begin + 2 ** 39 + 1);
    await input.close();
  });

  it('lets go of what it reads from', async () => {
    let closed = false;
    const source = (function* () {
      try {
        for (;;) yield Buffer.from('r');
      } finally {
        closed = true;
      }
    })();
    const input = new StreamInput(source);
    await input.take(3);
    await input.close();
    assert.ok(closed);
  });
});

describe('a diff that is not sound', () => {
  const isEdiff = (error: unknown): boolean => error instanceof BlkfilterError && error.code === 'EDIFF';

  it('is cut off at any byte', async () => {
    const bytes = await bytesOf(small);
    for (let length = 0; length < bytes.length; length++) {
      const failure = { code: 'EDIFF', message: new RegExp(`^EDIFF: at byte ${length} of the diff: it is cut off, `) };
      const part = bytes.subarray(0, length);
      await assert.rejects(read(new StreamInput(cut(part, [7]))), failure);
      await assert.rejects(check(new StreamInput([part])), failure);
      await withFile(part, async (input) => {
        await assert.rejects(check(input), failure);
        input.rewind();
        await assert.rejects(read(input), failure);
      });
    }
  });

  it('is damaged at random, and never anything but refused or read', async () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(diffs('before', 'after'), damage, async (diff, places) => {
        const bytes = await bytesOf(diff);
        for (const [place, value] of places) bytes[place % bytes.length] = value;
        const ways = [read(new StreamInput(cut(bytes, [5, 9]))), check(new StreamInput([bytes]))];
        const outcomes = await Promise.allSettled(ways);
        const reasons = outcomes.flatMap((one): unknown[] => (one.status === 'rejected' ? [one.reason] : []));
        for (const reason of reasons) assert.ok(isEdiff(reason), String(reason));
        assert.deepEqual(reasons.map(String), reasons.length ? [String(reasons[0]), String(reasons[0])] : []);
        if (reasons.length) refused++;
      }),
      { numRuns: 500 },
    );
    assert.ok(refused > 100, `only ${refused} of 500 were refused`);
  });

  // What follows the banner, in letters; <N> stands for 8 bytes, [N] for 4.
  const parse = (text: string): Buffer =>
    Buffer.concat(
      Array.from(text.matchAll(/<(\w+)>|\[(\w+)\]|([^<[]+)/gs), ([, long, short, rest]) => {
        if (long !== undefined) return Buffer.from(new BigUint64Array([BigInt(long)]).buffer);
        if (short !== undefined) return Buffer.from(new Uint32Array([Number(short)]).buffer);
        return Buffer.from(rest ?? '', 'latin1');
      }),
    );
  const banner = 'rbd diff v1\n';
  const cases: [string, string, RegExp][] = [
    ['another file', '\x7fELF and so on', /at byte 0 .*: '\\x7FELF and so ' is not the header of a diff/],
    ['the other version', 'rbd diff v2\ne', /at byte 0 .*: 'rbd diff v2\\n' is not the header/],
    ['an unknown record at once', `${banner}x`, /at byte 12 .*record 'x' is not known/],
    ['an unknown record that is no letter', `${banner}s<9>\x07`, /at byte 21 .*record 0x07 is not known/],
    ['an unknown record later', `${banner}s<9>z<0><1>q`, /at byte 38 .*record 'q' is not known/],
    ['data before the size', `${banner}w<0><1>`, /at byte 12 .*record 'w' before the size/],
    ['no size', `${banner}e`, /at byte 12 .*record 'e' before the size/],
    ['two sizes', `${banner}s<9>s<9>e`, /at byte 21 .*record 's', for the second time/],
    ['two names', `${banner}t[1]at[1]a`, /at byte 18 .*record 't', for the second time/],
    ['a name after the data', `${banner}s<9>z<0><1>t[1]a`, /at byte 38 .*record 't' after the data/],
    ['a name without end', `${banner}f[0xffffffff]`, /at byte 12 .*name of 4294967295 bytes, and 4096/],
    ['a name that is no text', `${banner}f[1]\xff`, /at byte 12 .*a name that is no text/],
    ['a size beyond all', `${banner}s<0xffffffffffffffff>`, /at byte 12 .*size 18446744073709551615, which is beyond/],
    ['an offset beyond all', `${banner}s<9>z<0xffffffffffffffff><1>`, /at byte 21 .*the offset 18446744073709551615/],
    ['a length beyond all', `${banner}s<9>w<0><0x7fffffffffffffff>`, /at byte 21 .*the length 9223372036854775807/],
    ['an empty range', `${banner}s<9>w<0><0>e`, /at byte 21 .*a range without a byte/],
    ['a range beyond the end', `${banner}s<9>z<8><2>e`, /at byte 21 .*2 bytes at offset 8, and the image has 9/],
    ['a range behind the end', `${banner}s<9>z<10><1>e`, /at byte 21 .*1 bytes at offset 10, and the image has 9/],
    ['an inexact sum', `${banner}s<0x1fffffffffffff>z<0x1ffffffffffffe><0x1fffffffffffff>e`, /at byte 21 .*image has/],
    ['ranges that overlap', `${banner}s<9>w<0><2>abz<1><1>e`, /at byte 40 .*begins at offset 1, .* ends at 2/],
    ['ranges that descend', `${banner}s<9>z<4><2>z<0><1>e`, /at byte 38 .*begins at offset 0, .* ends at 6/],
    ['two in one', `${banner}s<9>e${banner}s<9>e`, /at byte 22 .*more follows after its end/],
  ];
  for (const [title, text, message] of cases) {
    it(`has ${title}`, async () => {
      const failure = { name: 'BlkfilterError', code: 'EDIFF', message, hint: /./ };
      await assert.rejects(read(new StreamInput([parse(text)])), failure);
      await assert.rejects(withFile(parse(text), check), failure);
    });
  }

  it('is not written either', async () => {
    const data = Buffer.alloc(4);
    for (const ranges of [
      [{ offset: 0, length: 8 }, { offset: 4, length: 4, data }],
      [{ offset: 14, length: 4, data }],
      [{ offset: 0, length: 0 }],
    ]) {
      await assert.rejects(collect(encode({ size: 16 }, ranges)), { code: 'EDIFF' });
    }
  });

  it('is made of text', async () => {
    const text = ['rbd diff v1\n'] as unknown as Uint8Array[];
    const failure = { code: 'ERR_BLKFILTER_ARGUMENT', message: /bytes, and not of strings/ };
    await assert.rejects(read(new StreamInput(text)), failure);
  });
});

describe('rbd merge-diff', () => {
  const path = (name: string): string => join(scratch, name);

  function merge(first: Buffer, second: Buffer): Buffer {
    writeFileSync(path('first'), first);
    writeFileSync(path('second'), second);
    rmSync(path('merged'), { force: true });
    const files = ['first', 'second', 'merged'].map(path);
    const { status, stderr, error } = spawnSync('rbd', ['merge-diff', '--no-progress', ...files], { encoding: 'utf8' });
    assert.deepEqual({ status, error }, { status: 0, error: undefined }, stderr);
    return readFileSync(path('merged'));
  }

  it('makes of two diffs one that does what they do', async () => {
    await fc.assert(
      fc.asyncProperty(diffs('a', 'b'), diffs('b', 'c'), fc.integer({ min: 1, max: 255 }), async (one, two, fill) => {
        const before = Buffer.alloc(one.header.size, fill);
        const merged = await read(new StreamInput([merge(await bytesOf(one), await bytesOf(two))]));
        assert.deepEqual(merged.header, { from: 'a', to: 'c', size: two.header.size });
        assert.deepEqual(apply(merged, before), apply(two, apply(one, before)));
      }),
      { numRuns: 30 },
    );
  });

  it('refuses diffs that do not follow each other', async () => {
    const bytes = await bytesOf(small);
    assert.throws(() => merge(bytes, bytes), /must be equal with the second FROM/);
  });
});

describe('marks', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (generation, epoch) => {
        assert.deepEqual(partsNamed(nameOf({ generation, epoch })), { generation, epoch });
      }),
    );
    const generation = '11111111-2222-3333-4444-555555555555';
    assert.equal(nameOf({ generation, epoch: 7 }), `blkfilter-${generation}-7`);
    const own = nameOf({ generation, epoch: 7 });
    const others = ['', 'monday', own.slice(0, -2), own.replace('-7', '-0'), `${own}e3`, own.repeat(2), `${own}\n`];
    for (const name of others) {
      assert.equal(partsNamed(name), undefined, name);
    }
    assert.equal(partsNamed(own.replace(/7$/, '9007199254740993')), undefined);
  });
});
