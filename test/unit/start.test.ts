// SPDX-License-Identifier: MIT
// Commands that are run when the machine starts.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';

import { lateReasons, shellWord, unitWord } from '#lib/start.js';

describe('a command that is run at the start', () => {
  const words = ['/usr/bin/node', '/opt/my disks/100% "$HOME" it\'s \\ `x`'];

  it('has words that a shell takes as they are', () => {
    const printed = execFileSync('sh', ['-c', `printf '%s\\n' ${words.map(shellWord).join(' ')}`], { encoding: 'utf8' });
    assert.deepEqual(printed.split('\n').slice(0, -1), words);
  });

  it('has words as units write them', () => {
    assert.deepEqual(words.map(unitWord), ['"/usr/bin/node"', '"/opt/my disks/100%% \\"$HOME\\" it\'s \\\\ `x`"']);
  });

  it('is warned of when it is elsewhere than on the root file system', async () => {
    assert.deepEqual(await lateReasons(['/', '/usr/bin']), []);
    assert.notEqual(statSync('/proc').dev, statSync('/').dev);
    const [elsewhere, cached, ...more] = await lateReasons(['/proc/version', '/root/.npm/_npx/1/blkfilter.js']);
    assert.match(elsewhere ?? '', /^\/proc\/version is not on the root file system/);
    assert.match(cached ?? '', /cache of npx/);
    assert.deepEqual(more, []);
  });
});
