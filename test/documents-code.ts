// SPDX-License-Identifier: MIT
//
// Puts the TypeScript of README.md and docs/ where tsc checks and compiles it, for the guest's tests to run.
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

import { codeOf, documents } from './documents.js';

const folder = fileURLToPath(new URL('documents', import.meta.url));

mkdirSync(folder, { recursive: true });
const files = documents.flatMap((document) => {
  const code = codeOf(document, 'ts').join('\n');
  const file = `${basename(document, '.md')}.ts`;
  if (code) writeFileSync(`${folder}/${file}`, code);
  return code ? [file] : [];
});
writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ extends: '../../tsconfig.base.json', files }));
