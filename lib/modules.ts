// SPDX-License-Identifier: MIT
// The kernel modules of this package: building, loading, unloading, and what is loaded.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { BlkfilterError } from './errors.js';
import { packageRoot } from './native.js';
import { readIfThere } from './sysfs.js';
import { toolEnvironment } from './tools.js';

const run = async (command: string, args: string[]) =>
  promisify(execFile)(command, args, { env: toolEnvironment, maxBuffer: 64 << 20 });

/** In the order they are loaded: each needs the ones before it. */
const known = [
  { name: 'blkfilter', file: 'core/blkfilter.ko' },
  { name: 'blkfilter_cbt', file: 'cbt/blkfilter_cbt.ko' },
  { name: 'blkfilter_guard', file: 'guard/blkfilter_guard.ko' },
];

/** A kernel module of this package. */
export interface ModuleStatus {
  name: string;
  loaded: boolean;
  /** The version that is loaded; null when none is, or it does not tell. */
  version: string | null;
  /** How many use it, while it is loaded. */
  references: number | null;
  /** Whether modprobe finds it for the running kernel. */
  installed: boolean;
  /** The file that {@link build} made, if it is for the running kernel. */
  built: string | null;
}

/** The folder that a module for the running kernel is built against. */
export const kernelBuildFolder = (): string => `/lib/modules/${release()}/build`;

const output = async (command: string, ...args: string[]): Promise<string | undefined> =>
  run(command, args).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );

async function statusOf({ name, file }: (typeof known)[number]): Promise<ModuleStatus> {
  const folder = `/sys/module/${name}`;
  const path = join(packageRoot, 'kernel', file);
  // The first word of the magic is the kernel's release.
  const [builtFor] = (existsSync(path) ? await output('modinfo', '-F', 'vermagic', path) : undefined)?.split(' ') ?? [];
  const references = await readIfThere(`${folder}/refcnt`);
  return {
    name,
    loaded: existsSync(folder),
    version: (await readIfThere(`${folder}/version`))?.trim() ?? null,
    references: references === undefined ? null : Number(references),
    installed: (await output('modprobe', '--dry-run', '--ignore-install', '--quiet', name)) !== undefined,
    built: builtFor === release() ? path : null,
  };
}

/** Which modules are loaded, installed and built. */
export async function status(): Promise<ModuleStatus[]> {
  return Promise.all(known.map(statusOf));
}

// What the tools print, and what to do about it.
const hints: [RegExp, string][] = [
  [/not permitted|permission denied/i, 'run it as root; under kernel lockdown only signed modules load'],
  [/Invalid module format|Exec format error/i, 'it is for another kernel: build it again with `blkfilter module build`'],
  [/Key was rejected|Required key/i, 'Secure Boot wants signed modules: sign them with an enrolled key'],
  [/is in use/i, 'detach the filters first: `blkfilter status` lists them'],
  [/Device or resource busy/i, 'another module, such as a live patch, holds the same kernel function: unload it first'],
  [/Unknown symbol/i, 'it was built with another blkfilter: `blkfilter module build`, then unload and load both'],
  [/not found.*build|No such file or directory.*build|No rule to make target/is, 'install the kernel headers: `apt-get install linux-headers-$(uname -r)`'],
  [/make.*ENOENT/i, 'install make and gcc: `apt-get install build-essential`'],
];

async function tool(what: string, command: string, ...args: string[]): Promise<void> {
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

/**
 * Builds the modules for the running kernel.
 * @throws {BlkfilterError} `EMODULE`, with what the compiler said
 */
export async function build(): Promise<ModuleStatus[]> {
  const folder = kernelBuildFolder();
  if (!existsSync(folder)) {
    throw new BlkfilterError({
      code: 'EMODULE',
      reason: `the headers of kernel ${release()} are not installed`,
      hint: `install them: \`apt-get install linux-headers-${release()}\``,
      path: folder,
    });
  }
  await tool('build the modules', 'make', '-C', join(packageRoot, 'kernel'), `KDIR=${folder}`);
  return status();
}

/**
 * Loads the modules that are not loaded: the installed ones with modprobe, else those that {@link build} made.
 * @throws {BlkfilterError} `EMODULE`
 */
export async function load(): Promise<ModuleStatus[]> {
  for (const { name, loaded, installed, built } of await status()) {
    if (loaded) continue;
    if (installed) {
      await tool(`load ${name}`, 'modprobe', name);
    } else if (built) {
      await tool(`load ${name}`, 'insmod', built);
    } else {
      throw new BlkfilterError({
        code: 'EMODULE',
        reason: `${name} is neither installed nor built for kernel ${release()}`,
        hint: 'build it with `blkfilter module build`',
      });
    }
  }
  return status();
}

/**
 * Unloads the modules that are loaded. They stay while a filter is attached.
 * @throws {BlkfilterError} `EMODULE`
 */
export async function unload(): Promise<ModuleStatus[]> {
  for (const { name, loaded } of (await status()).reverse()) {
    if (loaded) await tool(`unload ${name}`, 'rmmod', name);
  }
  return status();
}
