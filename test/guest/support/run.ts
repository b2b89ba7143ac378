// SPDX-License-Identifier: MIT
import { spawnSync } from 'node:child_process';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';

/** A program of the tests' own, built beside them. */
export const program = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));

export interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end, whatever that is. */
export function attempt(command: string, ...args: string[]): Result {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 256 * 1024 * 1024,
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** Runs a program that must succeed; gives what it printed. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = attempt(command, ...args);
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs a line of shell that must succeed. */
export const sh = (line: string): string => run('sh', '-euc', line);

/** Polls until `check` gives something. */
export async function until<T>(what: string, check: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  for (let tries = 0; tries < 600; tries++) {
    const found = await check();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited in vain: ${what}`);
}

/** Whether the kernel has a module of this name. */
export const haveModule = (name: string) => (): boolean => attempt('modprobe', '--dry-run', name).status === 0;

/** Is the kernel of this release, or of a later one? */
export function isRelease(major: number, minor: number): boolean {
  const [a = 0, b = 0] = release().split('.').map(Number);
  return a > major || (a === major && b >= minor);
}
