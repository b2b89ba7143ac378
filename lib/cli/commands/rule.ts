// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { formatSize, rules, type AttachRule, type GuardRule } from '../../index.js';
import { example } from '../example.js';
import { answer, table, type OutputOptions } from '../output.js';
import { addRuleOptions, formatRule, type RuleFlags } from '../rule-spec.js';

const keys = [
  ['kind', "'disk', 'partition' of one, or 'virtual': loop, RAM, device-mapper, RAID"],
  ['name', "the kernel's name of the disk or partition, such as 'sd*'"],
  ['partuuid', "the partition's UUID in its partition table"],
  ['serial', "the disk's serial number (SCSI, SATA)"],
  ['wwid', "the disk's world-wide name, such as 'naa.5000c500*'"],
] as const;

type Key = (typeof keys)[number][0];
type Patterns = Partial<Record<Key, string>>;

const help = `
Patterns are those of a shell, and all that are given must match; none of those to except
may, and these may be repeated. The options are in force before the device's first I/O.
A rule for guard needs at least one; \`blkfilter guard --help\` tells what a SPEC is (here
without pid and cgroup). A write blocker for all disks that are plugged in but one:

  blkfilter rule add guard --kind disk --except-serial S3Z9NB0K --read-only`;

/** The options of a filter, as they would be typed. */
function optionsText({ options = {} }: AttachRule): string {
  const { rules = [], blockSize } = options as { rules?: GuardRule[]; blockSize?: number };
  return [...rules.map(formatRule), ...(blockSize === undefined ? [] : [`block-size ${formatSize(blockSize)}`])].join('; ');
}

async function list(options: OutputOptions): Promise<void> {
  const all = await rules.list();
  const row = (rule: AttachRule): string[] => [rule.filter, rules.patternWords(rule).join(' '), optionsText(rule)];
  await answer(options, { rules: all }, () =>
    all.length ? table(['FILTER', 'DEVICES', 'OPTIONS'], all.map(row)) : 'there are no rules',
  );
}

/** Has a command take patterns; gives what makes a rule of them. */
function addPatterns(command: Command): (filter: string, flags: Patterns) => AttachRule {
  const except: NonNullable<AttachRule['except']> = {};
  for (const [key, description] of keys) command.option(`--${key} <pattern>`, description);
  for (const [key] of keys) {
    command.option(`--except-${key} <pattern>`, 'but not this; may be repeated', (pattern: string) => {
      (except[key] ??= []).push(pattern);
    });
  }
  return (filter, flags) => ({
    filter,
    ...Object.fromEntries(keys.flatMap(([key]) => (flags[key] === undefined ? [] : [[key, flags[key]]]))),
    ...(Object.keys(except).length && { except }),
  });
}

function addAdd(command: Command): void {
  const leaf = command.command('add FILTER').description('add a rule');
  const ruleOf = addPatterns(leaf);
  leaf.option('--block-size <size>', 'an option of cbt: what one cell of its map stands for, such as 4KiB');
  const rulesOf = addRuleOptions(leaf);
  leaf
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action(async (filter: string, flags: OutputOptions & Patterns & RuleFlags & { blockSize?: string }) => {
      const guardRules = rulesOf(flags);
      const options = {
        ...(flags.blockSize !== undefined && { blockSize: flags.blockSize }),
        ...(guardRules.length && { rules: guardRules }),
      };
      const rule = { ...ruleOf(filter, flags), ...(Object.keys(options).length && { options }) };
      await rules.add(rule);
      await answer(flags, { rule }, () => 'added; devices that appear from now on get the filter');
    });
  example(leaf, "blkfilter rule add cbt --name 'sd*'");
}

function addRemove(command: Command): void {
  const leaf = command.command('remove FILTER').description('remove a rule; what it has attached stays attached');
  const ruleOf = addPatterns(leaf);
  leaf.option('--json', 'print JSON').action(async (filter: string, flags: OutputOptions & Patterns) => {
    const rule = ruleOf(filter, flags);
    await rules.remove(rule);
    await answer(flags, { rule }, () => 'removed');
  });
  example(leaf, "blkfilter rule remove cbt --name 'sd*'");
}

export function addRule(program: Command): void {
  const command = program
    .command('rule')
    .description('give filters to disks and partitions that appear, before their first I/O');
  addAdd(command);
  addRemove(command);
  const leaf = command.command('list').description('list the rules').option('--json', 'print JSON').action(list);
  example(leaf, 'blkfilter rule list --json');
}
