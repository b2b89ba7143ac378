// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { modules, type ModuleStatus, type SigningKey } from '../../index.js';
import { example } from '../example.js';
import { answer, table, type OutputOptions } from '../output.js';

const verbs: [name: string, description: string, run: () => Promise<ModuleStatus[]>][] = [
  ['build', 'build the kernel modules for the running kernel', modules.build],
  ['install', 'install the kernel modules, loaded at each start; with DKMS where that is', modules.install],
  ['uninstall', 'unload the kernel modules, and remove what install has put anywhere', modules.uninstall],
  ['load', 'load the kernel modules', modules.load],
  ['unload', 'unload the kernel modules', modules.unload],
  ['status', 'show which kernel modules are loaded', modules.status],
];

function describe({ loaded, installed, built, references }: ModuleStatus): string {
  if (loaded) return `loaded, ${references ? 'in use' : 'not in use'}`;
  return installed ? 'installed' : built ? 'built' : 'not built';
}

const print = async (options: OutputOptions, result: ModuleStatus[]): Promise<void> =>
  answer(options, { modules: result }, () =>
    table(['MODULE', 'VERSION', 'STATE'], result.map((m) => [m.name, m.version ?? '-', describe(m)])),
  );

export function addModule(program: Command): void {
  const command = program.command('module').description('build, install, sign, load and unload the kernel modules');
  for (const [name, description, run] of verbs) {
    const leaf = command
      .command(name)
      .description(description)
      .option('--json', 'print JSON')
      .action(async (options: OutputOptions) => {
        await print(options, await run());
      });
    example(leaf, `blkfilter module ${name}`);
  }
  const sign = command
    .command('sign')
    .description('sign the kernel modules, for Secure Boot')
    .requiredOption('--key <file>', 'the private key, in PEM')
    .requiredOption('--cert <file>', 'its certificate, which the machine trusts')
    .option('--json', 'print JSON')
    .action(async ({ json, ...key }: OutputOptions & SigningKey) => {
      await print({ ...(json && { json }) }, await modules.sign(key));
    });
  example(sign, 'blkfilter module sign --key mok.key --cert mok.der');
}
