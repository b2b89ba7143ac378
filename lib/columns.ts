// SPDX-License-Identifier: MIT

/**
 * Lines up columns of text.
 * @param paint draws the heading
 * @returns lines, the heading first
 */
export function lineUp(head: string[], rows: string[][], paint: (style: 'bold', text: string) => string): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: string[]): string => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd();
  return [paint('bold', line(head)), ...rows.map(line)];
}
