// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package's own folder. */
export const packageRoot = dirname(import.meta.dirname);

/** The version of the package, and of the modules that are built from it. */
export const { version: packageVersion } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
  version: string;
};
