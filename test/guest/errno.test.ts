// SPDX-License-Identifier: MIT
//
// The errno table: from plain ioctls, by the 64-bit and the 32-bit entry, and from the API. After each error the device
// has the filters that it had before.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import { BlkfilterError, open, type BlockDevice } from 'blkfilter';

import { attempt, program, run } from './support/run.js';
import { liveWitnesses, loadWitness, unloadWitness, WITNESS_COUNT, WITNESS_COUNT_BYTES } from './support/witness.js';

const DISK = '/dev/sda';
const LONGEST = 'thirty-two-bytes-exactly-0123456';
const CBT_ALTITUDE = 200000;

const INFO = { cmd: 1, bytes: 56 };
const CHECKPOINT = { cmd: 3, bytes: 24 };

const attached = (): string => readFileSync('/sys/block/sda/filter', 'utf8').trim();

interface Row {
  /** What is attached when the call is made. */
  given: string[];
  call: string[];
  user?: 'nobody';
  expect: string;
  /** What is attached afterwards, where that is not what was given. */
  leaves?: string[];
}

const attach = (name: string) => ['attach', name];
const detach = (name: string) => ['detach', name];
const ctl = (name: string, cmd: number, bytes: number) => ['ctl', name, String(cmd), String(bytes)];

const rows: Row[] = [
  { given: [], call: attach('cbt'), expect: '0', leaves: ['cbt'] },
  { given: [], call: attach('cbt'), user: 'nobody', expect: 'EPERM' },
  { given: [], call: attach('@bad'), expect: 'EFAULT' },
  { given: [], call: attach('nosuch'), expect: 'ENOENT' },
  { given: [], call: attach(''), expect: 'ENOENT' },
  { given: [], call: attach('cb'), expect: 'ENOENT' },
  { given: [], call: attach('cbt2'), expect: 'ENOENT' },
  { given: ['cbt'], call: attach('cbt'), expect: 'EALREADY' },
  { given: ['cbt'], call: attach('rival'), expect: 'EBUSY' },
  { given: [], call: attach(LONGEST), expect: '0', leaves: [LONGEST] },
  { given: [], call: attach(LONGEST.slice(0, 31)), expect: 'ENOENT' },

  { given: ['cbt'], call: detach('cbt'), expect: '0', leaves: [] },
  { given: ['cbt'], call: detach('cbt'), user: 'nobody', expect: 'EPERM' },
  { given: ['cbt'], call: detach('@bad'), expect: 'EFAULT' },
  { given: [], call: detach('cbt'), expect: 'ENOENT' },
  { given: ['cbt'], call: detach('other'), expect: 'EINVAL' },
  { given: ['cbt'], call: detach('nosuch'), expect: 'EINVAL' },
  { given: [LONGEST], call: detach(LONGEST), expect: '0', leaves: [] },

  { given: ['cbt'], call: ctl('cbt', INFO.cmd, INFO.bytes), expect: `0 ${INFO.bytes}` },
  { given: ['cbt'], call: ctl('cbt', INFO.cmd, INFO.bytes), user: 'nobody', expect: `0 ${INFO.bytes}` },
  { given: ['cbt'], call: ctl('cbt', CHECKPOINT.cmd, CHECKPOINT.bytes), user: 'nobody', expect: 'EPERM 24' },
  { given: ['cbt'], call: ctl('@bad', INFO.cmd, INFO.bytes), expect: `EFAULT ${INFO.bytes}` },
  { given: ['cbt'], call: ctl('@badopt', INFO.cmd, INFO.bytes), expect: `EFAULT ${INFO.bytes}` },
  { given: ['cbt'], call: ctl('cbt', INFO.cmd, INFO.bytes - 1), expect: `EINVAL ${INFO.bytes - 1}` },
  { given: ['cbt'], call: ctl('cbt', INFO.cmd, INFO.bytes + 1), expect: `EINVAL ${INFO.bytes + 1}` },
  { given: ['cbt'], call: ctl('cbt', 0, 0), expect: 'ENOTTY 0' },
  { given: ['cbt'], call: ctl('cbt', 99, 0), expect: 'ENOTTY 0' },
  { given: ['mute'], call: ctl('mute', 1, 0), expect: 'ENOTTY 0' },
  { given: [], call: ctl('cbt', INFO.cmd, INFO.bytes), expect: `ENOENT ${INFO.bytes}` },
  { given: ['other'], call: ctl('cbt', INFO.cmd, INFO.bytes), expect: `ENOENT ${INFO.bytes}` },
  // optlen is written back with what the filter left there.
  { given: ['other'], call: ctl('other', WITNESS_COUNT, 4096), expect: `0 ${WITNESS_COUNT_BYTES}` },
  { given: [LONGEST], call: ctl(LONGEST, WITNESS_COUNT, 4096), expect: `0 ${WITNESS_COUNT_BYTES}` },
];

describe('the errno table', () => {
  let device: BlockDevice;

  before(async () => {
    loadWitness({ rival: CBT_ALTITUDE, other: 5, mute: 6, [LONGEST]: 7 });
    run('chmod', '666', DISK);
    device = await open(DISK);
  });

  after(async () => {
    await device.close();
    assert.equal(liveWitnesses(), 0);
    unloadWitness();
  });

  const withFilters = async (given: string[], body: () => void | Promise<void>) => {
    for (const name of given) await device.attach(name);
    try {
      await body();
    } finally {
      for (const { name } of await device.filters()) await device.detach(name);
    }
  };

  for (const entry of [[], ['-32']]) {
    describe(`by the ${entry.length ? '32' : '64'}-bit entry`, () => {
      for (const { given, call, user, expect, leaves = given } of rows) {
        const who = user ? ` as ${user}` : '';
        it(`${call.join(' ')}${who} with [${given.join()}] attached: ${expect}`, () =>
          withFilters(given, () => {
            const command = [program('raw-ioctl'), ...entry, DISK, ...call];
            const as = user ? ['setpriv', '--reuid', user, '--clear-groups', '--'] : [];
            assert.equal(run('env', ...as, ...command).trim(), expect);
            assert.equal(attached(), leaves.join('\n'));
          }));
      }
    });
  }

  it('a name that is taken cannot be registered', () => {
    unloadWitness();
    const { status, stderr } = attempt('modprobe', 'blkfilter_witness', 'names=fresh,cbt');
    assert.notEqual(status, 0);
    assert.match(stderr, /Device or resource busy/);
    assert.doesNotMatch(readFileSync('/sys/module/blkfilter/parameters/filters', 'utf8'), /fresh/);
    loadWitness({ rival: CBT_ALTITUDE, other: 5, mute: 6, [LONGEST]: 7 });
  });

  const fails = async (promise: Promise<unknown>, code: string, text: RegExp) => {
    await assert.rejects(promise, (error) => {
      assert.ok(error instanceof BlkfilterError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(`${error.message}\n${error.hint ?? ''}`, text);
      return true;
    });
  };

  describe('from the API', () => {
    it('ENOENT: no such filter', async () => {
      await fails(device.attach('nosuch'), 'ENOENT', /nosuch/);
    });

    it('EPERM: no right to', () => {
      const { status, stderr } = attempt(
        'env', 'setpriv', '--reuid', 'nobody', '--clear-groups', '--', 'blkfilter', 'attach', DISK, 'cbt', '--json',
      );
      assert.equal(status, 1);
      assert.equal((JSON.parse(stderr) as { error: { code: string } }).error.code, 'EPERM');
      assert.equal(attached(), '');
    });

    it('EALREADY: attached already', () =>
      withFilters(['cbt'], () => fails(device.attach('cbt'), 'EALREADY', /\/dev\/sda/)));

    it('EBUSY: the altitude is taken', () => withFilters(['cbt'], () => fails(device.attach('rival'), 'EBUSY', /altitude/)));

    it('ENOENT: detaching where nothing is attached', () => fails(device.detach('cbt'), 'ENOENT', /no filter is attached/));

    it('EINVAL: detaching what is not attached where others are', () =>
      withFilters(['other'], () => fails(device.detach('cbt'), 'EINVAL', /cbt/)));

    it('ENOTTY: a filter without commands', () =>
      withFilters(['mute'], () => fails(device.ctl('mute', 1), 'ENOTTY', /mute/)));

    it('EINVAL: a malformed option', () => withFilters(['cbt'], () => fails(device.ctl('cbt', 1), 'EINVAL', /cbt/)));

    it('a name of 32 bytes works; one of 33 is refused by name', async () => {
      await withFilters([LONGEST], async () => {
        assert.deepEqual(await device.filters(), [{ name: LONGEST, altitude: 7 }]);
        assert.equal((await device.ctl(LONGEST, WITNESS_COUNT, Buffer.alloc(100))).length, WITNESS_COUNT_BYTES);
      });
      await fails(device.attach(`${LONGEST}x`), 'ERR_BLKFILTER_ARGUMENT', /32/);
    });

    it('a file that is no block device, and one that is not there', async () => {
      await fails(open('/etc/passwd'), 'ENOTBLK', /\/etc\/passwd/);
      await fails(open('/dev/null'), 'ENOTBLK', /\/dev\/null/);
      await fails(open('/dev/nosuch'), 'ENOENT', /\/dev\/nosuch/);
    });

    for (const blockSize of [0, 2048, 5000, 2 * 1024 * 1024, '4', '64 parsecs', NaN]) {
      it(`block size ${blockSize} is refused, and nothing is attached`, async () => {
        await fails(device.attach('cbt', { blockSize }), 'ERR_BLKFILTER_ARGUMENT', /blockSize/);
        assert.equal(attached(), '');
      });
    }

    it('an unknown option is refused by name, and nothing is attached', async () => {
      const options = { blocksize: 4096 } as object;
      await fails(device.attach('cbt', options), 'ERR_BLKFILTER_ARGUMENT', /blocksize/);
      assert.equal(attached(), '');
    });
  });
});
