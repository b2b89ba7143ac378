// SPDX-License-Identifier: MIT
//
// test/summary: what the end of a run says.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../test/summary', import.meta.url));

/** Its status, and the lines that it adds to what the commands print. */
function summary(...parts: [name: string, command: string][]): { status: number | null; lines: string[] } {
  const { status, stdout } = spawnSync(program, parts.flat(), { encoding: 'utf8' });
  const lines = stdout.replace(/^==> .*\n/gm, '').replace(/^took +\d+ s/gm, 'took N s').trimEnd().split('\n');
  return { status, lines };
}

describe('test/summary', () => {
  it('adds up what the commands say, and says how long each took', () => {
    assert.deepEqual(summary(['one', 'echo 2 passed, 0 failed'], ['two', 'echo ℹ pass 3; echo ℹ fail 0']), {
      status: 0,
      lines: ['2 passed, 0 failed', 'ℹ pass 3', 'ℹ fail 0', 'took N s: one', 'took N s: two', 'took N s in all', '5 passed, 0 failed'],
    });
  });

  it('tells the parts of a command that ends in this way itself, and which were not tried', () => {
    const inner = `${program} one 'echo 2 passed, 0 failed' two 'echo newest: not tried; echo 1 passed, 0 failed'`;
    assert.deepEqual(summary(['outer', inner], ['three', 'echo 4 passed, 0 failed']).lines.slice(-5), [
      'took N s: one',
      'newest: not tried',
      'took N s: three',
      'took N s in all',
      '7 passed, 0 failed',
    ]);
  });

  it('takes a command that fails, or runs no test, for a failed one, and names it', () => {
    const { status, lines } = summary(['one', 'echo 1 passed, 0 failed; exit 3'], ['two', 'true'], ['three', 'echo not ok: why; echo 0 passed, 1 failed; exit 1']);
    assert.equal(status, 1);
    assert.deepEqual(lines.slice(-4), [
      'failed: one ended with status 3',
      'failed: two ran no test',
      'failed: why',
      '1 passed, 3 failed',
    ]);
  });

  it('names a test of node:test that failed, with the beginning of its error', () => {
    const report = ['ℹ pass 1', 'ℹ fail 1', '', '✖ failing tests:', '', '✖ it works (12.5ms)', '  Error: it does not', '      at line'];
    assert.deepEqual(summary(['one', `printf '%s\\n' '${report.join("' '")}'; exit 1`]).lines.slice(-2), [
      'failed: it works | Error: it does not',
      '1 passed, 1 failed',
    ]);
  });
});
