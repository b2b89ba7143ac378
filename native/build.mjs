// SPDX-License-Identifier: MIT
//
//   node native/build.mjs [ARCH]
//
// Builds the addon with node-gyp: for this machine into build/, for another architecture into build/ARCH/build/, with
// Debian's cross compiler. The addon uses nothing but Node-API, and the headers of that are a package of npm's: those of
// the node that runs are often not installed, and node-gyp would fetch them from a network that servers often lack.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const require = createRequire(import.meta.url);
const [arch = process.arch] = process.argv.slice(2);
const native = arch === process.arch;

/** The prefix of Debian's cross compiler. */
const toolchain = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[arch];
if (!native && toolchain === undefined) throw new Error(`no cross compiler is known for ${arch}`);
const compiler = native ? {} : { CC: `${toolchain}-gcc`, CXX: `${toolchain}-g++`, AR: `${toolchain}-ar` };

/** Makes a folder as node-gyp wants to find node's headers in. What node has in its common.gypi is about node itself. */
function makeHeaders(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'include'), { recursive: true });
  symlinkSync(require('node-api-headers').include_dir, join(folder, 'include/node'));
  const configurations = { Release: { cflags: ['-O2'] }, Debug: { cflags: ['-O0', '-g'] } };
  const common = { target_defaults: { default_configuration: 'Release', configurations } };
  writeFileSync(join(folder, 'common.gypi'), JSON.stringify(common));
  return folder;
}

/** Where to build: node-gyp knows one place only, beside the sources. */
function makeFolder() {
  if (native) return root;
  const folder = join(root, 'build', arch);
  for (const part of ['binding.gyp', 'native', 'kernel/include/uapi']) {
    cpSync(join(root, part), join(folder, part), { recursive: true });
  }
  return folder;
}

const nodedir = makeHeaders(join(root, 'build', 'headers'));
const gyp = require.resolve('node-gyp/bin/node-gyp.js');
const options = [`--nodedir=${nodedir}`, `--arch=${arch}`, '--force-process-config', '--loglevel=warn'];
const { status, error } = spawnSync(process.execPath, [gyp, 'configure', 'build', ...options], {
  cwd: makeFolder(),
  stdio: 'inherit',
  env: { ...process.env, ...compiler },
});
if (error) throw error;
process.exitCode = status ?? 1;
