// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { modules, type ModuleStatus } from '../../index.js';
import { answer, table, type OutputOptions } from '../output.js';

const verbs: [name: string, description: string, run: () => Promise<ModuleStatus[]>][] = [
  ['build', 'build the kernel modules for the running kernel', modules.build],
  ['load', 'load the kernel modules', modules.load],
  ['unload', 'unload the kernel modules', modules.unload],
  ['status', 'show which kernel modules are loaded', modules.status],
];

function describe({ loaded, installed, built, references }: ModuleStatus): string {
  if (loaded) return `loaded, ${references ? 'in use' : 'not in use'}`;
  return installed ? 'installed' : built ? 'built' : 'not built';
}

export function addModule(program: Command): void {
  const command = program.command('module').description('build, load and unload the kernel modules');
  for (const [name, description, run] of verbs) {
    command
      .command(name)
      .description(description)
      .option('--json', 'print JSON')
      .action(async (options: OutputOptions) => {
        const result = await run();
        await answer(options, { modules: result }, () =>
          table(['MODULE', 'VERSION', 'STATE'], result.map((m) => [m.name, m.version ?? '-', describe(m)])),
        );
      });
  }
}
