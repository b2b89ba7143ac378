// SPDX-License-Identifier: MIT
import { existsSync } from 'node:fs';

import { run } from './run.js';

/** The kernel modules of the package's filters. */
export const FILTERS = ['blkfilter_cbt', 'blkfilter_trace', 'blkfilter_guard'];

/** All of the package's kernel modules, the core first. */
export const MODULES = ['blkfilter', ...FILTERS];

/** Loads those that are not loaded. */
export const loadModules = (): string => run('modprobe', '-a', ...MODULES);

/** Unloads those that are loaded, the core last. */
export function unloadModules(): void {
  for (const name of [...MODULES].reverse()) {
    if (existsSync(`/sys/module/${name}`)) run('rmmod', name);
  }
}
