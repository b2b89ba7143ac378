// SPDX-License-Identifier: MIT
// What the commands print: text for people, or with --json one document on stdout.
import { once } from 'node:events';
import { createWriteStream, fstatSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { styleText } from 'node:util';

import { lineUp } from '../columns.js';
import { BlkfilterError } from '../index.js';
import { native } from '../native.js';

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
  // One that has failed never drains.
  if (process.stdout.errored) throw process.stdout.errored;
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/**
 * Writes bytes to stdout, at the pace of whoever reads them. They are of no use in part, so here a reader that has seen
 * enough is a failure.
 */
export async function stream(bytes: AsyncIterable<Uint8Array>): Promise<void> {
  process.stdout.removeAllListeners('error').on('error', () => undefined);
  const status = fstatSync(1);
  try {
    if (status.isFIFO() || status.isSocket()) await pipeline(bytes, process.stdout, { end: false });
    // To a file process.stdout writes once, and does not look how much was written; to a disk it writes nothing at all.
    else await pipeline(bytes, createWriteStream('', { fd: 1, autoClose: false }));
  } catch (error) {
    throw unread(error);
  }
}

/** Says of an error of stdout what it means. */
const unread = (cause: unknown): unknown => ((cause as NodeJS.ErrnoException).code === 'EPIPE' ? noReader(cause) : cause);

function noReader(cause?: unknown): BlkfilterError {
  const reason = 'whoever reads it ended before its end';
  return new BlkfilterError({ code: 'EPIPE', reason, hint: 'its own message tells why', cause });
}

/**
 * A signal of the moment when nobody reads stdout any more, for a command that has to put something right then, or to say
 * that it did not come to its end. It does not take a next line to notice: of a disk that is idle there may be none for
 * long. It keeps the process running until it is disposed of.
 */
export function readerGone(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const { signal } = controller;
  process.stdout.removeAllListeners('error').on('error', (error) => {
    controller.abort(unread(error));
  });
  // A pipe or a terminal without its other end is always an exception; a file never is one.
  const poll = new (native().Poll)(process.stdout.fd, 'exceptional');
  void poll.wait().then(
    (gone) => {
      if (gone) controller.abort(noReader());
    },
    (error: unknown) => {
      controller.abort(error);
    },
  );
  return {
    signal,
    [Symbol.dispose]: () => {
      poll.close();
    },
  };
}

/** Prints an answer: the document with --json, else the text. */
export async function answer({ json }: OutputOptions, document: object, text: () => string): Promise<void> {
  await write(`${json ? JSON.stringify(document) : text()}\n`);
}

/** A table of text. */
export const table = (head: string[], rows: string[][]): string => lineUp(head, rows, paint).join('\n');

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
