// SPDX-License-Identifier: MIT
//
// Attach rules, as far as no kernel is asked. What they do is tested in the virtual machine.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { rules, type AttachRule } from 'blkfilter';

describe('an attach rule', () => {
  const wrong: [what: unknown, message: RegExp][] = [
    [{ filter: 'cbt' }, /give at least one of name, partuuid, serial and wwid/],
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

  it('needs the kernel module', async () => {
    for (const run of [rules.list, () => rules.add({ filter: 'cbt', name: 'sda' })]) {
      await assert.rejects(run(), { code: 'EMODULE' });
    }
  });
});
