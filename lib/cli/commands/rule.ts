// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { rules, type AttachRule } from '../../index.js';
import { example } from '../example.js';
import { answer, table, type OutputOptions } from '../output.js';

type Patterns = Omit<AttachRule, 'filter'>;

const show = (rule: AttachRule): string[] =>
  [rule.filter, rule.name, rule.partuuid, rule.serial, rule.wwid].map((value) => value ?? '*');

async function list(options: OutputOptions): Promise<void> {
  const all = await rules.list();
  await answer(options, { rules: all }, () =>
    all.length ? table(['FILTER', 'NAME', 'PARTUUID', 'SERIAL', 'WWID'], all.map(show)) : 'there are no rules',
  );
}

/** `rule add` and `rule remove` take the same. */
function addChange(command: Command, verb: 'add' | 'remove', description: string, done: string): void {
  const leaf = command
    .command(`${verb} FILTER`)
    .description(description)
    .option('--name <pattern>', "the kernel's name of the disk or partition, such as 'sd*'")
    .option('--partuuid <pattern>', "the partition's UUID in its partition table")
    .option('--serial <pattern>', "the disk's serial number (SCSI, SATA)")
    .option('--wwid <pattern>', "the disk's world-wide name, such as 'naa.5000c500*'")
    .option('--json', 'print JSON')
    .action(async (filter: string, { json, ...patterns }: OutputOptions & Patterns) => {
      const rule = { filter, ...patterns };
      await rules[verb](rule);
      await answer({ ...(json && { json }) }, { rule }, () => done);
    });
  example(leaf, `blkfilter rule ${verb} cbt --name 'sd*'`);
}

export function addRule(program: Command): void {
  const command = program
    .command('rule')
    .description('give filters to disks and partitions that appear, before their first I/O');
  addChange(command, 'add', 'add a rule; all of its patterns must match', 'added; devices that appear from now on get the filter');
  addChange(command, 'remove', 'remove a rule; what it has attached stays attached', 'removed');
  const leaf = command.command('list').description('list the rules').option('--json', 'print JSON').action(list);
  example(leaf, 'blkfilter rule list --json');
}
