// SPDX-License-Identifier: MIT
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { BlkfilterError } from 'blkfilter';
import { errnoName, explain, explainFailure } from '#lib/errors.js';

const at = { path: '/dev/sda', filter: 'cbt', coreLoaded: true };

const failure = (errno: number, request?: string) =>
  Object.assign(new Error('system call failed'), { errno, syscall: request ? 'ioctl' : 'open', request });

describe('the errno table', () => {
  // [request, errno's name, what the message says, what the hint says]
  const rows: [string, string, RegExp, RegExp][] = [
    ['open', 'ENOENT', /no such file/, /lsblk/],
    ['open', 'ENOTBLK', /not a block device/, /\/dev\/sda/],
    ['open', 'EACCES', /permission denied/, /root/],
    ['BLKFILTER_ATTACH', 'EPERM', /not permitted/, /CAP_SYS_ADMIN/],
    ['BLKFILTER_ATTACH', 'ENOENT', /no filter named 'cbt'/, /modprobe blkfilter_cbt/],
    ['BLKFILTER_ATTACH', 'EALREADY', /'cbt' is attached already/, /blkfilter status \/dev\/sda/],
    ['BLKFILTER_ATTACH', 'EBUSY', /altitude of 'cbt'/, /blkfilter status/],
    ['BLKFILTER_ATTACH', 'ENODEV', /gone or going/, /lsblk/],
    ['BLKFILTER_DETACH', 'EPERM', /not permitted/, /root/],
    ['BLKFILTER_DETACH', 'ENOENT', /no filter is attached/, /blkfilter status/],
    ['BLKFILTER_DETACH', 'EINVAL', /'cbt' is not attached, others are/, /blkfilter status/],
    ['BLKFILTER_DETACH', 'ENODEV', /gone or going/, /lsblk/],
    ['BLKFILTER_CTL', 'EPERM', /not permitted/, /root/],
    ['BLKFILTER_CTL', 'ENOENT', /'cbt' is not attached/, /blkfilter attach \/dev\/sda cbt/],
    ['BLKFILTER_CTL', 'EINVAL', /refused the argument/, /size and contents/],
    ['BLKFILTER_CTL', 'ENOTTY', /does not take this command/, /UAPI/],
    ['BLKFILTER_CBT_CONFIGURE', 'EINVAL', /block size/, /power of two/],
    ['BLKFILTER_CBT_CONFIGURE', 'EBUSY', /configured already/, /detach/],
    ['BLKFILTER_CBT_CHANGES', 'EINVAL', /epoch or the range/, /from 1/],
    ['BLKFILTER_CBT_BITMAP', 'EINVAL', /epoch or the range/, /multiple of the block size/],
    ['BLKFILTER_CBT_MARK', 'EINVAL', /beyond the device/, /sectors/],
    ['BLKFILTER_GUARD_SET_RULES', 'ETIMEDOUT', /attached and the new rules are in force/, /again/],
    ['BLKFILTER_GUARD_SET_RULES', 'ENOTSUP', /attached and the new rules are in force/, /iostats/],
    ['BLKFILTER_CBT_INFO', 'ENOENT', /'cbt' is not attached/, /blkfilter attach/],
    ['BLKFILTER_CBT_CHECKPOINT', 'ETIMEDOUT', /in flight/, /hangs/],
    ['BLKFILTER_CBT_CHECKPOINT', 'ENOTSUP', /statistics are or were off/, /iostats/],
    ['BLKFILTER_CBT_CHECKPOINT', 'EOVERFLOW', /used up/, /attach it again/],
    ['BLKFILTER_CBT_CHECKPOINT', 'ENOTTY', /another version|do not know/, /blkfilter doctor/],
  ];
  for (const [request, code, reason, hint] of rows) {
    it(`explains ${code} of ${request}`, () => {
      const explanation = explain(request, code, at);
      assert.match(explanation.reason, reason);
      assert.match(explanation.hint ?? '', hint);
      assert.equal(explanation.code, undefined);
    });
  }

  for (const request of ['BLKFILTER_CBT_CHANGES', 'BLKFILTER_CBT_BITMAP']) {
    it(`makes EGENERATION of ESTALE of ${request}`, () => {
      const error = explainFailure(failure(-116, request), at, true) as BlkfilterError;
      assert.equal(error.code, 'EGENERATION');
      assert.equal(error.errno, -116);
    });
  }

  for (const request of ['BLKFILTER_ATTACH', 'BLKFILTER_DETACH', 'BLKFILTER_CTL', 'BLKFILTER_CBT_INFO']) {
    it(`makes EMODULE of any errno of ${request} while the module is not loaded`, () => {
      // Drivers differ in what they say to an ioctl they do not know.
      for (const name of ['ENOTTY', 'EINVAL', 'EOPNOTSUPP']) {
        const { code, reason, hint } = explain(request, name, { ...at, coreLoaded: false });
        assert.equal(code, 'EMODULE');
        assert.match(reason, /not loaded/);
        assert.match(hint ?? '', /blkfilter module load/);
      }
    });
  }

  it('has words for what it does not list', () => {
    assert.equal(explain('BLKFILTER_ATTACH', 'ENOMEM', at).reason, 'not enough memory');
    assert.match(explain('BLKFILTER_ATTACH', 'EXYZ', at).reason, /refused/);
  });
});

describe('an error', () => {
  it('looks like those of node:fs', () => {
    const error = explainFailure(failure(-114, 'BLKFILTER_ATTACH'), at, true) as BlkfilterError;
    assert.ok(error instanceof BlkfilterError && error instanceof Error);
    assert.equal(error.message, "EALREADY: filter 'cbt' is attached already, ioctl BLKFILTER_ATTACH '/dev/sda'");
    const { name, code, errno, syscall, path } = error;
    assert.deepEqual(
      { name, code, errno, syscall, path },
      { name: 'BlkfilterError', code: 'EALREADY', errno: -114, syscall: 'ioctl', path: '/dev/sda' },
    );
  });

  it('has no property that is not known', () => {
    const error = new BlkfilterError({ code: 'EMODULE', reason: 'no' });
    assert.equal(error.message, 'EMODULE: no');
    for (const key of ['errno', 'syscall', 'request', 'path', 'hint', 'cause']) assert.ok(!(key in error), key);
  });

  it('has the stack of the call, and its own first line', () => {
    const original = failure(-2);
    const error = explainFailure(original, at, true) as BlkfilterError;
    const [first, ...frames] = error.stack?.split('\n    at ') ?? [];
    assert.equal(first, `BlkfilterError: ${error.message}`);
    assert.deepEqual(frames, original.stack?.split('\n    at ').slice(1));
    const better = error.reworded({ reason: 'better', hint: 'do' });
    assert.equal(better.message, "ENOENT: better, open '/dev/sda'");
    assert.deepEqual(better.stack?.split('\n    at ').slice(1), frames);
    assert.equal(better.hint, 'do');
  });

  it('is left alone when it is none of the system', () => {
    const other = new TypeError('not a device handle');
    assert.equal(explainFailure(other, at, true), other);
  });

  it('names each errno', () => {
    assert.deepEqual([-1, -15, -25, -95, -116, -123, -9999].map(errnoName), [
      'EPERM',
      'ENOTBLK',
      'ENOTTY',
      'ENOTSUP',
      'ESTALE',
      'ENOMEDIUM',
      'errno 9999',
    ]);
  });
});
