// SPDX-License-Identifier: MIT
// The kernel modules of this package: building, loading, unloading, and what is loaded.
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';

import { BlkfilterError } from './errors.js';
import { packageRoot } from './package.js';
import { readIfThere } from './sysfs.js';
import { moduleTool, output } from './tools.js';

/** In the order they are loaded: each needs the ones before it. */
export const known = [
  { name: 'blkfilter', file: 'core/blkfilter.ko' },
  { name: 'blkfilter_cbt', file: 'cbt/blkfilter_cbt.ko' },
  { name: 'blkfilter_trace', file: 'trace/blkfilter_trace.ko' },
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
  /** The version of the file that would be loaded; null when there is none, or it does not tell. */
  fileVersion: string | null;
  /** Whose key has signed the file that would be loaded; null when none has. */
  signer: string | null;
}

/** The folder that a module for the running kernel is built against. */
export const kernelBuildFolder = (): string => `/lib/modules/${release()}/build`;

/** Whether the modules are for kernels of that release: Linux 6.1 and newer. */
export function isSupported(release: string): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 1);
}

async function statusOf({ name, file }: (typeof known)[number]): Promise<ModuleStatus> {
  const folder = `/sys/module/${name}`;
  const path = join(packageRoot, 'kernel', file);
  // The first word of the magic is the kernel's release.
  const [builtFor] = (existsSync(path) ? await output('modinfo', '-F', 'vermagic', path) : undefined)?.split(' ') ?? [];
  const references = await readIfThere(`${folder}/refcnt`);
  const installed = (await output('modprobe', '--dry-run', '--ignore-install', '--quiet', name)) !== undefined;
  const field = async (key: string): Promise<string | null> =>
    /.+/.exec((await output('modinfo', '-F', key, installed ? name : path)) ?? '')?.[0] ?? null;
  return {
    name,
    loaded: existsSync(folder),
    version: (await readIfThere(`${folder}/version`))?.trim() ?? null,
    references: references === undefined ? null : Number(references),
    installed,
    built: builtFor === release() ? path : null,
    fileVersion: await field('version'),
    signer: await field('signer'),
  };
}

/** Which modules are loaded, installed and built. */
export async function status(): Promise<ModuleStatus[]> {
  return Promise.all(known.map(statusOf));
}

/**
 * The folder that a module for the running kernel is built against.
 * @throws {BlkfilterError} `EMODULE` it is not there
 */
export function needHeaders(): string {
  const folder = kernelBuildFolder();
  if (existsSync(folder)) return folder;
  throw new BlkfilterError({
    code: 'EMODULE',
    reason: `the headers of kernel ${release()} are not installed`,
    hint: `install them: \`apt-get install linux-headers-${release()}\``,
    path: folder,
  });
}

/**
 * Builds the modules for the running kernel.
 * @throws {BlkfilterError} `EMODULE`, with what the compiler said
 */
export async function build(): Promise<ModuleStatus[]> {
  const folder = needHeaders();
  await moduleTool('build the modules', 'make', '-C', join(packageRoot, 'kernel'), `KDIR=${folder}`);
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
      await moduleTool(`load ${name}`, 'modprobe', name);
    } else if (built) {
      await moduleTool(`load ${name}`, 'insmod', built);
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
    if (loaded) await moduleTool(`unload ${name}`, 'rmmod', name);
  }
  return status();
}
