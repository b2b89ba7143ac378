// SPDX-License-Identifier: MIT
// Builds the addon with node-gyp. A node that came from a package or an archive has its headers beside it; they are
// used when they are there, because fetching them needs a network that servers often lack.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const prefix = dirname(dirname(process.execPath));
const args = ['configure', 'build', '--loglevel=warn'];
if (!process.env.npm_config_nodedir && existsSync(join(prefix, 'include/node/node_api.h'))) {
  args.push(`--nodedir=${prefix}`);
}

const { status, error } = spawnSync('node-gyp', args, { cwd: root, stdio: 'inherit' });
if (error) {
  console.error(`cannot run node-gyp (${error.message}); start this with: npm run build:addon`);
}
process.exit(status ?? 1);
