// SPDX-License-Identifier: MIT
//
//   node native/prebuild.mjs [ARCH]...
//
// Puts the addon where the package brings it along, in prebuilds/: one for each architecture, and for glibc. That of this
// machine is the one that is built already.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const built = 'build/Release/blkfilter.node';

rmSync(join(root, 'prebuilds'), { recursive: true, force: true });
for (const arch of process.argv.length > 2 ? process.argv.slice(2) : [process.arch]) {
  const native = arch === process.arch;
  if (!native) {
    const { status } = spawnSync(process.execPath, [join(root, 'native/build.mjs'), arch], { stdio: 'inherit' });
    if (status !== 0) process.exit(1);
  }
  const folder = native ? root : join(root, 'build', arch);
  cpSync(join(folder, built), join(root, 'prebuilds', `linux-${arch}-glibc`, 'blkfilter.node'));
}
