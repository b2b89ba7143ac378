// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import {
  formatDuration,
  open,
  type BlockDevice,
  type Guard,
  type GuardAction,
  type GuardCounters,
  type GuardRule,
} from '../../index.js';
import { example } from '../example.js';
import { answer, paint, table, type OutputOptions } from '../output.js';
import { addRuleOptions, formatChance, formatSectors, type RuleFlags } from '../rule-spec.js';

const help = `
The first rule that applies to a request decides; the rest pass. Without rules it shows
those in force, and how often each has decided. Rules replace those that were in force.

SPEC is OPS[:SECTORS][:ERRNO|TIME][:CHANCE%][:pid=PID][:cgroup=FOLDER], for example

  --deny write:0-2047   --delay read:100ms   --fail write:EIO:1%   --pass all:pid=1

OPS are joined by commas: read, write, flush, discard, secure-erase, write-zeroes,
zone-append, zone-open, zone-close, zone-finish, zone-reset, other; change is any that
changes data, all is any. FOLDER is all that follows, colons too.
\`blkfilter detach DEV guard\` ends it.

SG_IO and NVMe passthrough commands are no requests of the block layer: they are counted
as bypassed, and cannot be denied.`;

function show(rule: GuardAction): string {
  if (rule.action === 'delay') return `delay ${formatDuration(Number(rule.delay))}`;
  return rule.action === 'deny' ? `deny ${rule.error ?? ''}` : 'pass';
}

function whose({ pid, cgroup }: GuardRule): string {
  const named = [pid !== undefined && `pid ${pid}`, cgroup !== undefined && `cgroup ${cgroup}`];
  return named.filter(Boolean).join(', ') || 'any';
}

const row = (rule: GuardRule & { applied: number }, operations = 'all'): string[] => [
  show(rule),
  rule.operations?.join(',') ?? operations,
  formatSectors(rule.range),
  whose(rule),
  formatChance(rule.chance),
  String(rule.applied),
];

function text({ rules, default: rest, held }: GuardCounters, bypassed: number): string {
  const head = ['ACTION', 'OPERATIONS', 'SECTORS', 'WHOSE', 'CHANCE', 'APPLIED'];
  return [
    table(head, [...rules.map((rule) => row(rule)), row(rest, 'the rest')]),
    ...(held ? [`requests being delayed: ${held}`] : []),
    ...(bypassed ? [paint('yellow', `commands that bypassed it (SG_IO, NVMe passthrough): ${bypassed}`)] : []),
  ].join('\n');
}

/** The guard, with these rules if there are any. */
async function guardWith(device: BlockDevice, rules: GuardRule[]): Promise<Guard> {
  const attached = (await device.filters()).some(({ name }) => name === 'guard');
  if (!attached && rules.length) return device.attach('guard', { rules });
  const guard = await device.filter('guard');
  if (rules.length) await guard.setRules({ rules });
  return guard;
}

async function guard(path: string, rules: GuardRule[], options: OutputOptions): Promise<void> {
  const device = await open(path);
  try {
    const guard = await guardWith(device, rules);
    const counters = await guard.counters();
    const bypassed = await device.bypassed();
    await answer(options, { device: path, ...counters, bypassed }, () => text(counters, bypassed));
  } finally {
    await device.close();
  }
}

export function addGuard(program: Command): void {
  const command = program
    .command('guard DEV')
    .description('deny, delay or pass requests by rule, or show the rules and what they did');
  const rulesOf = addRuleOptions(command);
  command
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action((path: string, { readOnly, ...options }: RuleFlags & OutputOptions) =>
      guard(path, rulesOf({ ...(readOnly && { readOnly }) }), options),
    );
  example(command, 'blkfilter guard /dev/sdb --read-only');
}
