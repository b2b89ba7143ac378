// SPDX-License-Identifier: MIT
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** What several runs of the same thing gave. */
export interface Figure {
  median: number;
  /** From the lowest to the highest. */
  spread: number;
}

export function figureOf(values: number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b);
  const [lowest = NaN, highest = NaN] = [sorted.at(0), sorted.at(-1)];
  return { median: sorted[sorted.length >> 1] ?? NaN, spread: highest - lowest };
}

/** Runs a line of shell that must succeed; gives what it printed. */
export function sh(line: string): string {
  const { status, stdout, stderr, error } = spawnSync('bash', ['-euc', line], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (error) throw error;
  if (status !== 0) throw new Error(`${line}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** A program of the benchmarks' own. */
export const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Markdown's table; all columns but the first are of numbers. */
export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

/** `1,234` */
export const grouped = (value: number, digits = 0): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Until I/O is no longer hooked: the hook lingers for a second after the last filter (kernel/core/hook.c). */
export const unhooked = (): Promise<void> => sleep(1500);
