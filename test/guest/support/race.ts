// SPDX-License-Identifier: MIT
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { program } from './run.js';

/** How often each kind of call had each result: results.attach.EALREADY. */
export type Results = Record<string, Record<string, number>>;

/** Lets roles of test/guest/race.c loose on each other, each for so many rounds; gives what came of their calls. */
export async function race(rounds: number, ...roles: string[]): Promise<Results> {
  const child = spawn(program('race'), [String(rounds), ...roles], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name].on('data', (data: Buffer) => (output[name] += data.toString()));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  assert.equal(status, 0, output.stderr);
  const results: Results = {};
  for (const line of output.stdout.trim().split('\n')) {
    const [what = '', result = '', count] = line.split(' ');
    (results[what] ??= {})[result] = Number(count);
  }
  return results;
}

/** That no call had a result that is not listed for its kind. */
export function onlyResults(results: Results, allowed: Record<string, string>): void {
  const strange = Object.entries(results).flatMap(([what, counts]) =>
    Object.keys(counts)
      .filter((result) => !(allowed[what] ?? '').split(' ').includes(result))
      .map((result) => `${what}: ${result}`),
  );
  assert.deepEqual(strange, [], JSON.stringify(results));
}

/** How often something happened; at least once, or there was no race. */
export function happened(results: Results, what: string, result = '0'): number {
  const count = results[what]?.[result] ?? 0;
  assert.ok(count > 0, `${what} never gave ${result}: ${JSON.stringify(results)}`);
  return count;
}

/** How many hold a module. */
export const references = (module: string): number =>
  Number(readFileSync(`/sys/module/${module}/refcnt`, 'utf8'));
