// SPDX-License-Identifier: MIT
//
// The code blocks of README.md and of docs/, out of these, so that the tests run what they say and not a copy of it.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(fileURLToPath(import.meta.resolve('blkfilter/package.json')));

/** The names of README.md and of all in docs/. */
export const documents = ['README.md', ...readdirSync(`${root}/docs`).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];

export const textOf = (document: string): string => readFileSync(`${root}/${document}`, 'utf8');

export interface Block {
  /** The heading it stands below. */
  section: string;
  language: string;
  code: string;
}

export const blocksOf = (document: string): Block[] =>
  textOf(document)
    .split(/^#+ /m)
    .flatMap((section) =>
      Array.from(section.matchAll(/^```(\w*)\n(.*?)^```$/gms), ([, language = '', code = '']) => ({
        section: section.slice(0, section.indexOf('\n')),
        language,
        code,
      })),
    );

/** The code in one language, in order: of one section, or of all. */
export const codeOf = (document: string, language: string, section?: string): string[] =>
  blocksOf(document)
    .filter((block) => block.language === language && (section ?? block.section) === block.section)
    .map(({ code }) => code);
