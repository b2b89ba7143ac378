// SPDX-License-Identifier: MIT
import { InvalidArgumentError, type Command } from 'commander';

import { boot, config, rules } from '../../index.js';
import { example } from '../example.js';
import { answer, exit, paint, type OutputOptions } from '../output.js';

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
  // Before it is said, for nobody may listen to the end.
  if (devices.some(({ error }) => error)) process.exitCode = exit.failed;
  await answer(options, { devices }, () =>
    devices
      .map(({ device, filter, error }) =>
        error ? `${paint('red', 'FAIL')} ${device}: ${error.message}` : `${paint('green', 'ok  ')} ${device}: ${filter} is attached`,
      )
      .concat('the rules are in force')
      .join('\n'),
  );
}

async function printRules(path: string | undefined, options: OutputOptions): Promise<void> {
  const checked = await config.read(path);
  await answer(options, { rules: checked.rules }, () => checked.rules.map(rules.lineOf).join('\n'));
}

async function enable(options: OutputOptions): Promise<void> {
  const warnings = await boot.enable();
  await answer(options, { enabled: true, warnings }, () =>
    [...warnings.map((warning) => `${paint('yellow', 'warning:')} ${warning}`), 'the configuration is applied at each start'].join('\n'),
  );
}

async function disable(options: OutputOptions): Promise<void> {
  await boot.disable();
  await answer(options, { enabled: false }, () => 'the configuration is no longer applied at each start');
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
    const leaf = command.command(usage).description(description).option('--json', 'print JSON');
    example(leaf, `blkfilter config ${leaf.name()}`);
    return leaf;
  };
  add('check [FILE]', 'check the configuration').action(checkConfig);
  add('apply [FILE]', 'do what the configuration says, now')
    .option('--wait <seconds>', 'for devices that are not there yet', parseSeconds, 0)
    .action(applyConfig);
  add('rules [FILE]', 'print the rules of the configuration as the kernel takes them').action(printRules);
  add('enable', 'have the configuration applied at each start, before file systems are mounted').action(enable);
  add('disable', 'undo enable').action(disable);
}
