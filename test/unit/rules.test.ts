// SPDX-License-Identifier: MIT
//
// Attach rules, as far as no kernel is asked. What they do is tested in the virtual machine.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { readOnly, rules, type AttachRule } from 'blkfilter';

describe('an attach rule', () => {
  const wrong: [what: unknown, message: RegExp][] = [
    [{ filter: 'cbt' }, /give at least one of kind, name, partuuid, serial and wwid/],
    [{ filter: 'cbt', except: {} }, /give at least one/],
    [{ filter: 'cbt', except: { serial: [] } }, /rule\.except\.serial/],
    [{ filter: 'cbt', except: { serial: ['a b'] } }, /rule\.except\.serial\.0: not a pattern/],
    [{ filter: 'cbt', except: { colour: ['red'] } }, /rule\.except: unknown option 'colour'/],
    [{ filter: 'cbt', name: 'sda', options: 1 }, /rule\.options/],
    [{ filter: 'cbt', name: undefined }, /give at least one/],
    [{ filter: 'cbt', name: '' }, /rule\.name: not a pattern/],
    [{ filter: 'cbt', name: 'sd a' }, /rule\.name: not a pattern: no blanks/],
    [{ filter: 'cbt', serial: 'a\nb' }, /rule\.serial: not a pattern/],
    [{ filter: '', name: 'sda' }, /rule\.filter: not a filter name/],
    [{ filter: 'two words', name: 'sda' }, /rule\.filter/],
    [{ filter: 'cbt', name: 'sda', colour: 'red' }, /unknown option 'colour'/],
    [{ name: 'sda' }, /rule\.filter/],
    [null, /rule/],
  ];
  for (const [what, message] of wrong) {
    for (const verb of ['add', 'remove'] as const) {
      it(`that is wrong cannot be ${verb}ed: ${JSON.stringify(what)}`, async () => {
        await assert.rejects(rules[verb](what as AttachRule), (error: Error & { code?: string }) => {
          assert.equal(error.code, 'ERR_BLKFILTER_ARGUMENT');
          assert.match(error.message, message);
          return true;
        });
      });
    }
  }

  const wrongOptions: [filter: string, options: object | undefined, message: RegExp][] = [
    ['cbt', { blockSize: 5000 }, /rule\.options\.blockSize: not a power of two/],
    ['cbt', { rules: [readOnly] }, /rule\.options: unknown option 'rules'/],
    ['trace', { count: 8 }, /unknown option 'count'/],
    ['other', { size: 8 }, /unknown option 'size'/],
    ['guard', undefined, /rule\.options\.rules: guard needs rules here/],
    ['guard', {}, /guard needs rules here/],
    ['guard', { rules: [] }, /guard needs rules here/],
    ['guard', { rules: [{ ...readOnly, pid: 1 }] }, /rule\.options\.rules\.0: unknown option 'pid'/],
    ['guard', { rules: [{ ...readOnly, cgroup: 1 }] }, /unknown option 'cgroup'/],
    ['guard', { rules: [{ action: 'delay', delay: 0 }] }, /rule\.options\.rules\.0\.delay: not from 1/],
  ];
  for (const [filter, options, message] of wrongOptions) {
    it(`for ${filter} cannot have these options: ${JSON.stringify(options)}`, async () => {
      const code = 'ERR_BLKFILTER_ARGUMENT';
      await assert.rejects(rules.add({ filter, name: 'sda', options: options as Record<string, unknown> }), { code, message });
    });
  }

  const lines: [rule: AttachRule, line: string][] = [
    [{ filter: 'cbt', name: 'sd*', kind: 'disk' }, 'cbt kind=disk name=sd*'],
    [{ filter: 'cbt', name: 'sd*', options: {} }, 'cbt name=sd*'],
    [{ filter: 'cbt', name: 'sd*', options: { blockSize: '4KiB' } }, 'cbt name=sd* -- block-size=4096'],
    [{ filter: 'guard', except: { wwid: ['a', 'b'], name: ['c'] }, options: { rules: [readOnly] } }, 'guard name!=c wwid!=a wwid!=b -- read-only'],
    [
      { filter: 'guard', name: 'sd*', options: { rules: [{ action: 'delay', operations: ['read'], delay: '1s' }], default: { action: 'deny' } } },
      'guard name=sd* -- delay=1:1000:0:0:1000000 deny=8191:5:0:0:1000000',
    ],
  ];
  for (const [rule, line] of lines) it(`to the kernel: ${line}`, () => assert.equal(rules.lineOf(rule), line));

  it('needs the kernel module', async () => {
    for (const run of [rules.list, () => rules.add({ filter: 'cbt', name: 'sda' })]) {
      await assert.rejects(run(), { code: 'EMODULE' });
    }
  });
});
