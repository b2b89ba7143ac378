// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { boot, config, rules } from '../../index.js';
import { example } from '../example.js';
import { answer, exit, paint, write, type OutputOptions } from '../output.js';

async function checkConfig(path: string | undefined, options: OutputOptions): Promise<void> {
  const checked = await config.read(path);
  await answer(options, checked, () => `fine: ${checked.rules.length} rules, ${checked.devices.length} devices`);
}

async function applyConfig(path: string | undefined, { wait, ...options }: OutputOptions & { wait: number }): Promise<void> {
  const applied = await config.apply(await config.read(path), wait * 1000);
  const devices = applied.map(({ device, filter, error }) => {
    const failure = error && { code: error.code, message: error.message, hint: error.hint ?? null };
    return { device, filter, error: failure };
  });
  await answer(options, { devices }, () =>
    devices
      .map(({ device, filter, error }) =>
        error ? `${paint('red', 'FAIL')} ${device}: ${error.message}` : `${paint('green', 'ok  ')} ${device}: ${filter} is attached`,
      )
      .concat('the rules are in force')
      .join('\n'),
  );
  if (devices.some(({ error }) => error)) process.exitCode = exit.failed;
}

async function printRules(path: string | undefined): Promise<void> {
  const checked = await config.read(path);
  await write(checked.rules.map((rule) => `${rules.lineOf(rule)}\n`).join(''));
}

function parseSeconds(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('It is a number of seconds.');
  return Number(text);
}

export function addConfig(program: Command): void {
  const command = program
    .command('config')
    .description('the filters that devices get at each start, as /etc/blkfilter/config.json says');
  const add = (usage: string, description: string): Command => {
    const leaf = command.command(usage).description(description);
    example(leaf, `blkfilter config ${leaf.name()}`);
    return leaf;
  };
  add('check [FILE]', 'check the configuration').option('--json', 'print JSON').action(checkConfig);
  add('apply [FILE]', 'do what the configuration says, now')
    .option('--wait <seconds>', 'for devices that are not there yet', parseSeconds, 0)
    .option('--json', 'print JSON')
    .action(applyConfig);
  add('rules [FILE]', 'print the rules of the configuration as the kernel takes them').action(printRules);
  add('enable', 'have the configuration applied at each start, before file systems are mounted').action(boot.enable);
  add('disable', 'undo enable').action(boot.disable);
}
