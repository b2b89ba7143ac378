// SPDX-License-Identifier: MIT
//
// README.md and docs/: what they tell to do on this machine. What they tell to do to a disk is done in the virtual machine.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, describe, it } from 'node:test';

import { config } from 'blkfilter';

import { blocksOf, codeOf, documents, root, textOf } from '../documents.js';

const text = textOf('README.md');
const scratch = mkdtempSync(join(tmpdir(), 'blkfilter-readme-'));
const clone = join(scratch, 'clone');
const project = join(scratch, 'project');
const prefix = join(scratch, 'prefix');

/** A login of a user with an npm of their own: nothing of the npm that runs these tests, nor global on this machine. */
const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_'))),
  PATH: `${prefix}/bin:${process.env.PATH ?? ''}`,
  npm_config_prefix: prefix,
};

function sh(folder: string, code: string): string {
  const { status, stdout, stderr } = spawnSync('sh', ['-euc', code], { cwd: folder, env, encoding: 'utf8' });
  assert.equal(status, 0, `${code}\n${stdout}${stderr}`);
  return stdout;
}

/** The project as a clone would be: without what is built or fetched. */
function copyTo(folder: string): void {
  const made = ['.git', '.cache', 'node_modules', 'build', 'dist', 'dist-docs', 'dist-test', 'prebuilds'];
  cpSync(root, folder, { recursive: true, filter: (path) => path === root || !made.includes(basename(path)) });
}

after(() => rmSync(scratch, { recursive: true }));

describe('README.md', () => {
  it('has no code that no test runs', () => {
    // "Try it" holds the targets below, the last two are those of test/guest/documents.test.ts.
    const run = ['Try it sh', 'Install sh', 'Use from TypeScript sh', 'Use sh', 'Use from TypeScript ts'];
    for (const { section, language, code } of blocksOf('README.md')) assert.ok(run.includes(`${section} ${language}`), code);
    assert.deepEqual(codeOf('README.md', 'sh', 'Try it'), ['make demo\nmake test\n']);
  });

  it('names targets of make that there are', () => {
    const targets = new Set(Array.from(text.matchAll(/^make ([\w-]+)|`make ([\w-]+)`/gm), ([, a, b]) => a ?? b));
    assert.ok(targets.size > 2);
    const help = sh(root, 'make help');
    for (const target of targets) assert.match(help, new RegExp(`^  ${target} `, 'm'));
  });

  it('links to files that there are', () => {
    for (const [, path] of text.matchAll(/\]\(([^)]+)\)/g)) assert.ok(existsSync(join(root, path ?? '')), path);
  });

  it('installs the command and the package from a fresh clone', () => {
    copyTo(clone);
    for (const code of codeOf('README.md', 'sh', 'Install')) sh(clone, code);
    assert.match(sh(scratch, 'blkfilter --version'), /^\d/);

    mkdirSync(project);
    for (const code of codeOf('README.md', 'sh', 'Use from TypeScript')) sh(project, code);
    // ENOTBLK is the addon's own word.
    const script = "import('blkfilter').then(({ open }) => open('/dev/null')).catch(({ code }) => console.log(code))";
    assert.equal(sh(project, `node -e "${script}"`), 'ENOTBLK\n');
  });
});

describe('docs/', () => {
  // What test/guest/documents.test.ts runs, in the guest: sh and ts of these.
  const run = ['boot', 'diff', 'filters', 'guard', 'scripts', 'sync', 'trace', 'watch'];

  for (const document of documents.filter((name) => name !== 'README.md')) {
    it(`${document} has no code that no test runs, and links to files that there are`, () => {
      for (const { language, code } of blocksOf(document)) {
        const tested = language === 'json' || (run.includes(basename(document, '.md')) && ['sh', 'ts'].includes(language));
        assert.ok(tested, code);
      }
      const prose = textOf(document).replaceAll(/^```.*?^```$/gms, '');
      assert.doesNotMatch(prose, /^ {4}(blkfilter|make|insmod|modprobe|await|const) /m);
      for (const [, path] of textOf(document).matchAll(/\]\(([^)#:]+)\)/g)) {
        assert.ok(existsSync(join(root, 'docs', path ?? '')), path);
      }
    });
  }

  it('boot.md shows a configuration that is right', async () => {
    const [json = ''] = codeOf('docs/boot.md', 'json');
    const path = join(scratch, 'config.json');
    writeFileSync(path, json);
    assert.deepEqual((await config.read(path)).rules, [
      { filter: 'cbt', wwid: 'naa.5000c500*', options: { blockSize: '4KiB' } },
      { filter: 'guard', kind: 'disk', except: { name: ['vd*'], serial: ['S3Z9NB0K'] }, options: { rules: [{ action: 'deny', operations: ['change'] }] } },
    ]);
  });
});
