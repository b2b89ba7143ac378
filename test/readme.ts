// SPDX-License-Identifier: MIT
//
// The code blocks of README.md, out of README.md, so that the tests run what it says and not a copy of it.
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(fileURLToPath(import.meta.resolve('blkfilter/package.json')));
export const text = readFileSync(`${root}/README.md`, 'utf8');

export interface Block {
  /** The heading it stands below. */
  section: string;
  language: string;
  code: string;
}

export const blocks: Block[] = text.split(/^#+ /m).flatMap((section) =>
  Array.from(section.matchAll(/^```(\w*)\n(.*?)^```$/gms), ([, language = '', code = '']) => ({
    section: section.slice(0, section.indexOf('\n')),
    language,
    code,
  })),
);

/** The code of a section in one language, in order. */
export const codeOf = (section: string, language: string): string[] =>
  blocks.filter((block) => block.section === section && block.language === language).map(({ code }) => code);
