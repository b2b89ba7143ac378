// SPDX-License-Identifier: MIT
// The rules of guard, as they are typed and as the API takes them.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Guard, readOnly, type GuardOptions, type GuardRule } from 'blkfilter';
import { formatRule, parseRule } from '#lib/cli/rule-spec.js';
import { check } from '#lib/options.js';

const checked = (options: unknown) => check(Guard.options(), options, 'guard');

describe('a rule on the command line', () => {
  const rules: [GuardRule['action'], string, GuardRule][] = [
    ['deny', 'write', { action: 'deny', operations: ['write'] }],
    ['deny', 'write:0-2047', { action: 'deny', operations: ['write'], range: { sector: 0, count: 2048 } }],
    ['deny', 'all', { action: 'deny' }],
    ['deny', 'change:2048-', { action: 'deny', operations: ['change'], range: { sector: 2048 } }],
    ['deny', 'write:EIO:1%', { action: 'deny', operations: ['write'], error: 'EIO', chance: 0.01 }],
    ['deny', 'write:0.5%:ENOSPC:7', { action: 'deny', operations: ['write'], error: 'ENOSPC', chance: 0.005, range: { sector: 7, count: 1 } }],
    ['deny', 'read,discard', { action: 'deny', operations: ['read', 'discard'] }],
    ['deny', 'zone-reset|zone-finish', { action: 'deny', operations: ['zone-reset', 'zone-finish'] }],
    ['delay', 'read:100ms', { action: 'delay', operations: ['read'], delay: 100 }],
    ['delay', 'all:8-15:2s:50%', { action: 'delay', delay: 2000, range: { sector: 8, count: 8 }, chance: 0.5 }],
    ['pass', 'write:pid=42', { action: 'pass', operations: ['write'], pid: 42 }],
    ['pass', 'all:cgroup=/sys/fs/cgroup/a', { action: 'pass', cgroup: '/sys/fs/cgroup/a' }],
    ['deny', 'all:1%:cgroup=/sys/fs/cgroup/a:b:1%', { action: 'deny', chance: 0.01, cgroup: '/sys/fs/cgroup/a:b:1%' }],
  ];
  for (const [action, spec, rule] of rules) {
    it(`--${action} ${spec}`, () => {
      assert.deepEqual(parseRule(action, spec), rule);
      checked({ rules: [rule] });
      if (rule.pid || rule.cgroup) return;
      const [verb = '', again = ''] = formatRule(rule).split(' ');
      assert.deepEqual([verb, parseRule(action, again)], [action, rule]);
    });
  }

  const wrong: [GuardRule['action'], string, RegExp][] = [
    ['deny', '', /no operation/],
    ['deny', ':0-7', /no operation/],
    ['deny', 'write:', /'' is no range/],
    ['deny', 'write:5-4', /not a range/],
    ['deny', 'write:0-9007199254740993', /not a range/],
    ['deny', 'write:1M', /'1M' is no range/],
    ['deny', 'write:eio', /'eio' is no range/],
    ['deny', 'write:100ms', /says how to delay/],
    ['deny', 'write:EIO:ENOSPC', /second error/],
    ['deny', 'write:1-2:4-5', /second range/],
    ['deny', 'write:1%:2%', /second chance/],
    ['deny', 'write:pid=x', /'pid=x' is no range/],
    ['delay', 'read', /for how long/],
    ['delay', 'read:100', /for how long/],
    ['delay', 'read:1h', /'1h' is no range/],
    ['delay', 'read:1s:EIO', /says how to deny/],
    ['pass', 'read:EIO', /says how to deny/],
    ['pass', 'read:1s', /says how to delay/],
  ];
  for (const [action, spec, message] of wrong) {
    it(`--${action} '${spec}' is refused`, () => {
      assert.throws(() => parseRule(action, spec), { code: 'ERR_BLKFILTER_ARGUMENT', message, hint: /./ });
    });
  }
});

describe('the options of guard', () => {
  it('may be left out: all passes', () => {
    assert.deepEqual(checked({}), { rules: [], default: { action: 'pass' } });
  });

  it('take a write blocker', () => {
    assert.deepEqual(checked({ rules: [readOnly] }).rules, [{ operations: ['change'], action: 'deny', error: 'EIO' }]);
  });

  it('take times as text, and deny with EIO unless told', () => {
    const given: GuardOptions = { rules: [{ action: 'delay', delay: '2s' }], default: { action: 'deny' } };
    assert.deepEqual(checked(given), { rules: [{ action: 'delay', delay: 2000 }], default: { action: 'deny', error: 'EIO' } });
  });

  const deny = (more: object) => ({ rules: [{ action: 'deny', ...more }] });
  const wrong: [string, unknown, RegExp][] = [
    ['no action', { rules: [{}] }, /rules\.0\.action/],
    ['another action', { rules: [{ action: 'explode' }] }, /rules\.0\.action/],
    ['an operation that does not exist', deny({ operations: ['wirte'] }), /operations\.0: 'wirte' is not an operation: read, write/],
    ['no operation', deny({ operations: [] }), /rules\.0\.operations/],
    ['an errno that gets lost on the way', deny({ error: 'EROFS' }), /error: 'EROFS' is not an errno .*: EIO, ENOSPC/],
    ['an errno that makes others try for ever', deny({ error: 'EAGAIN' }), /rules\.0\.error/],
    ['a delay to deny', deny({ delay: 5 }), /unknown option 'delay'/],
    ['no delay', { rules: [{ action: 'delay' }] }, /rules\.0\.delay/],
    ['a delay of nothing', { rules: [{ action: 'delay', delay: 0 }] }, /delay: not from 1 to 3600000 ms/],
    ['a delay of more than an hour', { rules: [{ action: 'delay', delay: '61m' }] }, /delay: not from 1/],
    ['a delay without a unit', { rules: [{ action: 'delay', delay: '100' }] }, /'100' is not a time/],
    ['an error to pass', { rules: [{ action: 'pass', error: 'EIO' }] }, /unknown option 'error'/],
    ['an empty range', deny({ range: { sector: 0, count: 0 } }), /rules\.0\.range\.count/],
    ['a range beyond all', deny({ range: { sector: 2 ** 53 - 1, count: 2 } }), /beyond any device/],
    ['no chance', deny({ chance: 0 }), /rules\.0\.chance/],
    ['less than the smallest chance', deny({ chance: 1e-7 }), /rules\.0\.chance/],
    ['more than any chance', deny({ chance: 1.1 }), /rules\.0\.chance/],
    ['pid 0', deny({ pid: 0 }), /rules\.0\.pid/],
    ['a cgroup by a part of its path', deny({ cgroup: 'system.slice' }), /rules\.0\.cgroup/],
    ['a default with a range', { default: { action: 'deny', range: { sector: 0 } } }, /default: unknown option 'range'/],
    ['too many rules', { rules: Array.from({ length: 1025 }, () => readOnly) }, /rules: .*1024/],
    ['what they do not know', { readOnly: true }, /unknown option 'readOnly'/],
  ];
  for (const [what, options, message] of wrong) {
    it(`refuse ${what}`, () => {
      assert.throws(() => checked(options), { code: 'ERR_BLKFILTER_ARGUMENT', message });
    });
  }
});
