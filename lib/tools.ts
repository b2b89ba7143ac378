// SPDX-License-Identifier: MIT
// The system's own tools.
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

import { BlkfilterError } from './errors.js';

/**
 * The environment for the system's own tools: those of administrators are not on everyone's path, and what they say is
 * matched against, so it must be in English.
 */
export const toolEnvironment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };

const run = async (command: string, args: string[]) =>
  promisify(execFile)(command, args, { env: toolEnvironment, maxBuffer: 64 << 20 });

/** What a tool prints; undefined when it fails, or is not there. */
export const output = async (command: string, ...args: string[]): Promise<string | undefined> =>
  run(command, args).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );

/** Where a tool is; undefined when it is nowhere. */
export async function findTool(command: string): Promise<string | undefined> {
  const paths = toolEnvironment.PATH.split(delimiter).map((folder) => join(folder, command));
  const found = await Promise.all(paths.map((path) => access(path, constants.X_OK).then(() => true, () => false)));
  return paths.find((_, index) => found[index]);
}

// What the tools print, and what to do about it.
const hints: [RegExp, string][] = [
  [/not permitted|permission denied/i, 'run it as root; under kernel lockdown only signed modules load: `blkfilter doctor` says how'],
  [/Invalid module format|Exec format error/i, 'it is for another kernel: build it again with `blkfilter module build`'],
  [/Key was rejected|Required key/i, 'sign the modules with a key that this machine trusts: `blkfilter doctor` says how'],
  [/is in use/i, 'detach the filters and remove the rules first: `blkfilter status` and `blkfilter rule list` list them'],
  [/Device or resource busy/i, 'another module, such as a live patch, holds the same kernel function: unload it first'],
  [/Operation not supported/i, 'the modules do not work on this kernel: `blkfilter doctor` says why'],
  [/Unknown symbol/i, 'it was built with another blkfilter: `blkfilter module build`, then unload and load both'],
  [/not found.*build|No such file or directory.*build|No rule to make target/is, 'install the kernel headers: `apt-get install linux-headers-$(uname -r)`'],
  [/make.*ENOENT/i, 'install make and gcc: `apt-get install build-essential`'],
];

/**
 * Runs a tool that does something to the modules.
 * @param what that, for the message
 * @throws {BlkfilterError} `EMODULE`, with what the tool said
 */
export async function moduleTool(what: string, command: string, ...args: string[]): Promise<void> {
  try {
    await run(command, args);
  } catch (cause) {
    const { message, stderr } = cause as Error & { stderr?: string };
    const said = stderr?.trim() ? stderr.trim().split('\n').slice(-10).join('\n') : message;
    throw new BlkfilterError({
      code: 'EMODULE',
      reason: `cannot ${what}: ${said}`,
      hint: hints.find(([pattern]) => pattern.test(said))?.[1],
      cause,
    });
  }
}
