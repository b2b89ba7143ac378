// SPDX-License-Identifier: MIT
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';

import { run, until } from './run.js';

/** The kernel modules of the package's filters. */
export const FILTERS = ['blkfilter_cbt', 'blkfilter_trace', 'blkfilter_guard'];

/** All of the package's kernel modules, the core first. */
export const MODULES = ['blkfilter', ...FILTERS];

/** Why modules cannot be built here, where they cannot. */
export const unbuildable =
  !/^6\.1\..*-amd64$/.test(release()) && "only the stock kernel's headers for this machine's compiler are here";

/** What takes minutes under emulation is left out with few rounds. */
export const hurried = Number(process.env.BLKFILTER_ROUNDS ?? 50) < 50 && 'takes minutes; it runs with 50 rounds and more';

/**
 * With few rounds, puts what the runner has compiled by the same commands where make looks for it, and finds it up to date.
 */
export function precompiled(): void {
  if (hurried) run('cp', '-a', `${process.env.BLKFILTER_BUILT ?? ''}/kernel/.`, 'kernel');
}

/** Loads those that are not loaded. */
export const loadModules = (): string => run('modprobe', '-a', ...MODULES);

/** Unloads those that are loaded, the core last. */
export function unloadModules(): void {
  for (const name of [...MODULES].reverse()) {
    if (existsSync(`/sys/module/${name}`)) run('rmmod', name);
  }
}

/** The functions that are hooked by anybody, as the kernel lists them. */
export const hookedFunctions = (): string => readFileSync('/sys/kernel/tracing/enabled_functions', 'utf8');

/** Waits until no bio is hooked any more. */
export const untilUnhooked = async (): Promise<unknown> =>
  until('bios to be left alone', () => !/submit_bio|bio_start_io_acct/.test(hookedFunctions()));
