// SPDX-License-Identifier: MIT
//
// The package as its users get it: packed, installed by npm into an empty folder by somebody who is not root, and used
// there. BLKFILTER_NPM names other versions of npm to try as well: BLKFILTER_NPM="10 12".
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { root, textOf } from '../documents.js';

const NOBODY = 65534;
const scratch = mkdtempSync(join(tmpdir(), 'blkfilter-package-'));
const project = join(scratch, 'project');
const installed = join(project, 'node_modules/blkfilter');
const command = join(project, 'node_modules/.bin/blkfilter');
let tarball: string;

const node = (...args: string[]): string[] => [process.execPath, ...args];

/** Nothing of the npm that runs these tests but where it gets packages from; node's headers from nowhere. */
const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_'))),
  HOME: scratch,
  npm_config_cache: join(scratch, 'cache'),
  npm_config_registry: execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim(),
  npm_config_update_notifier: 'false',
  npm_config_disturl: 'http://127.0.0.1:9/',
};

/** Who uses the package: nobody, where these tests are root's. */
const user = process.geteuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

function attempt(folder: string, [file = '', ...args]: string[], as: { uid?: number; gid?: number } = user) {
  const { status, stdout, stderr, error } = spawnSync(file, args, { cwd: folder, env, encoding: 'utf8', ...as });
  if (error) throw error;
  return { status, stdout, stderr };
}

function run(folder: string, command: string[], as = user): string {
  const { status, stdout, stderr } = attempt(folder, command, as);
  assert.equal(status, 0, `${command.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs one of the project's own tools, which may lie where nobody gets. */
const inspect = (name: string, ...args: string[]): string => run(project, node(join(root, 'node_modules/.bin', name), ...args), {});

/** A folder that the user may write to. */
function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true });
  if (process.geteuid?.() === 0) chownSync(path, NOBODY, NOBODY);
}

/** The files below a folder of the project. */
const under = (folder: string, pattern = /./): string[] =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter((path) => pattern.test(path));

describe('the package', () => {
  before(() => {
    chmodSync(scratch, 0o755);
    makeFolder(project);
    makeFolder(join(scratch, 'cache'));
    execFileSync(process.execPath, [join(root, 'native/prebuild.mjs')]);
    const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', scratch];
    tarball = join(scratch, execFileSync('npm', args, { cwd: root, encoding: 'utf8' }).trim());
    run(project, ['npm', 'install', '--silent', tarball]);
  });
  after(() => rmSync(scratch, { recursive: true }));

  it('has what it is made of and what was made of it, and nothing else', () => {
    const lib = under('lib');
    const compiled = lib.map((path) => path.replace(/^lib/, 'dist').replace(/\.ts$/, ''));
    const expected = [
      ...['LICENSE', 'README.md', 'binding.gyp', 'package.json', 'native/build.mjs'],
      ...under('LICENSES'),
      ...under('docs', /^docs\/[^/]*\.md$/),
      ...under('examples', /^examples\/[^/]*\.ts$/),
      ...under('kernel', /(\.[ch]|\/Kbuild|\/Makefile)$/).filter((path) => !path.endsWith('.mod.c')),
      ...under('native', /\.(cc|h)$/),
      ...lib,
      ...compiled.flatMap((path) => ['.js', '.d.ts', '.d.ts.map'].map((end) => path + end)),
      // The command is a bundle: it has no map, and brings the licences of what is in it.
      ...compiled.filter((path) => path !== 'dist/cli/main').map((path) => `${path}.js.map`),
      'dist/cli/main.LICENSES',
      ...['dist/man/blkfilter.8', 'dist/completions/blkfilter', 'dist/completions/_blkfilter'],
      `prebuilds/linux-${process.arch}-glibc/blkfilter.node`,
    ];
    const packed = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n');
    assert.deepEqual(packed.map((path) => path.replace(/^package\//, '')).sort(), expected.sort());
  });

  it('has the files that its README links to', () => {
    for (const [, path = ''] of textOf('README.md').matchAll(/\]\(([^)]+)\)/g)) assert.ok(existsSync(join(installed, path)), path);
  });

  it('runs nothing when it is installed', () => {
    const { scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { scripts: object };
    const names = ['preinstall', 'install', 'postinstall'];
    assert.deepEqual(Object.keys(scripts).filter((name) => names.includes(name)), []);
  });

  it('brings an addon that asks for no newer C library than the README says', () => {
    const addon = readFileSync(join(installed, `prebuilds/linux-${process.arch}-glibc/blkfilter.node`), 'latin1');
    const wanted = Array.from(addon.matchAll(/GLIBC_2\.(\d+)/g), ([, minor]) => Number(minor));
    assert.ok(Math.max(...wanted) <= 33, String(wanted));
  });

  // ENOTBLK is the addon's own word.
  const use = "open('/dev/null').catch(({ code }) => console.log(code))";

  it('is imported, and is required', () => {
    writeFileSync(join(project, 'use.mjs'), `import { open } from 'blkfilter'; ${use}`);
    writeFileSync(join(project, 'use.cjs'), `const { open } = require('blkfilter'); ${use}`);
    assert.equal(run(project, node('use.mjs')), 'ENOTBLK\n');
    assert.equal(run(project, node('use.cjs')), 'ENOTBLK\n');
  });

  it('is typed, where it is imported and where it is required', () => {
    const typed = 'export const disk: Promise<blkfilter.BlockDevice> = blkfilter.open("/dev/sda");';
    writeFileSync(join(project, 'typed.mts'), `import * as blkfilter from 'blkfilter'; ${typed}`);
    writeFileSync(join(project, 'typed.cts'), `import blkfilter = require('blkfilter'); ${typed}`);
    const options = ['--noEmit', '--strict', '--target', 'es2023', '--module', 'nodenext', '--types', 'node'];
    const typeRoots = ['--typeRoots', join(root, 'node_modules/@types'), '--lib', 'es2023,esnext.disposable'];
    inspect('tsc', ...options, ...typeRoots, 'typed.mts', 'typed.cts');
    inspect('publint', 'run', '--strict', tarball);
    // A CommonJS module may require an ES module: every Node can that the package takes.
    inspect('attw', tarball, '--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm');
  });

  it('has a command', () => {
    assert.match(run(project, [command, '--help']), /^Usage: blkfilter /);
  });

  it('refuses another platform and an old Node with one line', () => {
    const pretend = (code: string): string[] => node('--import', `data:text/javascript,${code}`);
    const cases = [
      ["Object.defineProperty(process, 'platform', { value: 'darwin' })", 'blkfilter works on Linux, and this is darwin'],
      [
        "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.18.3' } })",
        'blkfilter needs Node.js 20.19 or newer, and this is 20.18.3',
      ],
    ] as const;
    for (const [code, reason] of cases) {
      assert.deepEqual(attempt(project, [...pretend(code), command, '--help']), { status: 1, stdout: '', stderr: `error: ${reason}\n` });
      const importing = "import('blkfilter').catch(({ message }) => console.log(message))";
      assert.equal(run(project, [...pretend(code), '-e', importing]), `${reason}\n`);
    }
  });

  it('without an addon says how to build it, and builds it', () => {
    rmSync(join(installed, 'prebuilds'), { recursive: true });
    const { status, stderr } = attempt(project, [command, 'status', '/dev/null']);
    assert.equal(status, 1);
    assert.match(stderr, /^error: ERR_BLKFILTER_ADDON: .*\nhint: {2}build it with `blkfilter build-addon` .*\n$/);
    assert.match(run(project, [command, 'build-addon']), /^built /);
    assert.equal(run(project, node('use.mjs')), 'ENOTBLK\n');
  });

  for (const version of process.env.BLKFILTER_NPM?.split(' ') ?? []) {
    it(`is installed by npm ${version}`, () => {
      const folder = join(scratch, `npm-${version}`);
      makeFolder(folder);
      const npm = ['npm', 'exec', '--yes', `npm@${version}`, '--'];
      assert.match(run(folder, [...npm, '--version']), new RegExp(`^${version}\\.`));
      run(folder, [...npm, 'install', tarball]);
      assert.equal(run(folder, node('-e', `require('blkfilter').${use}`)), 'ENOTBLK\n');
    });
  }
});
