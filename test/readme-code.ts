// SPDX-License-Identifier: MIT
//
// Puts the TypeScript of README.md where tsc checks and compiles it, for the guest's tests to run.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { codeOf } from './readme.js';

const folder = fileURLToPath(new URL('readme', import.meta.url));

mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/example.ts`, codeOf('Use from TypeScript', 'ts').join('\n'));
writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ extends: '../../tsconfig.base.json', files: ['example.ts'] }));
