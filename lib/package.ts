// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's own folder. It is found by the package's name, because the bundled command runs from another folder. */
export const packageRoot = dirname(fileURLToPath(import.meta.resolve('blkfilter/package.json')));

/** The version of the package, and of the modules that are built from it. */
export const { version: packageVersion } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  version: string;
};
