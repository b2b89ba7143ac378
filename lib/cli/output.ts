// SPDX-License-Identifier: MIT
// What the commands print: text for people, or with --json one document on stdout.
import { once } from 'node:events';
import { styleText } from 'node:util';

import type { BlkfilterError } from '../index.js';

/** The exit statuses. */
export const exit = { done: 0, failed: 1, usage: 2 } as const;

export interface OutputOptions {
  json?: true;
}

type Style = Parameters<typeof styleText>[0];

/** Whether the stream shows colours. */
export const colorful = (stream: NodeJS.WriteStream = process.stdout): boolean => stream.isTTY && stream.hasColors();

/** Colours text where the stream shows colours. */
export function paint(style: Style, text: string, stream?: NodeJS.WriteStream): string {
  return colorful(stream) ? styleText(style, text) : text;
}

/** Writes to stdout, at the pace of whoever reads it. */
export async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** Prints an answer: the document with --json, else the text. */
export async function answer({ json }: OutputOptions, document: object, text: () => string): Promise<void> {
  await write(`${json ? JSON.stringify(document) : text()}\n`);
}

/** Lines up columns. */
export function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: string[]): string => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd();
  return [paint('bold', line(head)), ...rows.map(line)].join('\n');
}

/** Prints an error on stderr, as text or as JSON. */
export function complain(error: unknown, json: boolean): void {
  const { code = null, syscall = null, path = null, hint = null } = error as Partial<BlkfilterError>;
  const message = error instanceof Error ? error.message : String(error);
  if (json) {
    const parts = { code, syscall, path, message, hint };
    process.stderr.write(`${JSON.stringify({ error: parts })}\n`);
  } else {
    const label = (style: Style, text: string): string => paint(style, text, process.stderr);
    process.stderr.write(`${label('red', 'error:')} ${message}\n`);
    if (hint) process.stderr.write(`${label('bold', 'hint:')}  ${hint}\n`);
  }
}
