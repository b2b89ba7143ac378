// SPDX-License-Identifier: MIT
// The configuration that is applied at each start, as far as it touches no device.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import { config, readOnly } from 'blkfilter';

const folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
const path = join(folder, 'config.json');

async function read(document: unknown): Promise<config.Config> {
  writeFileSync(path, typeof document === 'string' ? document : JSON.stringify(document));
  return config.read(path);
}

describe('the configuration', () => {
  after(() => rmSync(folder, { recursive: true }));

  it('may say nothing', async () => {
    assert.deepEqual(await read({}), { rules: [], devices: [] });
  });

  it('has rules and devices', async () => {
    const rules = [
      { filter: 'cbt', wwid: 'naa.5000c500*', options: { blockSize: '4KiB' } },
      { filter: 'guard', kind: 'disk', except: { serial: ['a'] }, options: { rules: [readOnly] } },
    ];
    const devices = [{ device: '/dev/sdb', filter: 'cbt', options: { blockSize: '4KiB' } }];
    assert.deepEqual(await read({ rules, devices }), { rules, devices });
  });

  const wrong: [unknown, RegExp][] = [
    ['{', /it is no JSON/],
    [{ rule: [] }, /unknown option 'rule'/],
    [{ rules: [{ filter: 'cbt' }] }, /rules\.0: give at least one of kind, name/],
    [{ rules: [{ filter: 'guard', name: 'sd*' }] }, /rules\.0\.options\.rules: guard needs rules here/],
    [{ rules: [{ filter: 'cbt', name: 'sd*', options: { blockSize: '5KiB' } }] }, /rules\.0\.options\.blockSize: not a power/],
    [{ devices: [{ device: 'sdb', filter: 'cbt' }] }, /devices\.0\.device: the path of a device/],
    [{ devices: [{ device: '/dev/sdb' }] }, /devices\.0\.filter/],
    [{ devices: [{ device: '/dev/sdb', filter: 'cbt', options: { blockSize: '5KiB' } }] }, /options\.blockSize: not a power of two/],
    [{ devices: [{ device: '/dev/sdb', filter: 'cbt', options: { size: 1 } }] }, /devices\.0\.options.*size/],
  ];
  for (const [document, message] of wrong) {
    it(`that is wrong is refused: ${JSON.stringify(document)}`, async () => {
      await assert.rejects(read(document), { code: 'ERR_BLKFILTER_ARGUMENT', message });
    });
  }

  it('that is not there is named', async () => {
    await assert.rejects(config.read('/no/such'), { code: 'ENOENT', path: '/no/such' });
  });
});
