// SPDX-License-Identifier: MIT
// A rule of guard as it is typed: OPS[:SECTORS][:ERRNO|TIME][:CHANCE%][:pid=PID][:cgroup=FOLDER].
import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';

import {
  BlkfilterError,
  formatDuration,
  parseDuration,
  parseRange,
  readOnly,
  type GuardOperation,
  type GuardRule,
} from '../index.js';

type Action = GuardRule['action'];

interface Part {
  form: RegExp;
  /** Of which action; of any unless told. */
  of?: Action;
  read: (text: string) => unknown;
}

/** What may follow the operations. Each part is told by its form, and may stand anywhere; but the control group is the last. */
const parts: Record<string, Part> = {
  range: { form: /^\d+(-\d*)?$/, read: parseRange },
  error: { form: /^E[A-Z]+$/, of: 'deny', read: (text) => text },
  delay: { form: /^\d+(ms|s|m)$/, of: 'delay', read: parseDuration },
  chance: { form: /^\d+(\.\d+)?%$/, read: (text) => parseFloat(text) / 100 },
  pid: { form: /^pid=\d+$/, read: (text) => Number(text.slice('pid='.length)) },
  cgroup: { form: /^cgroup=./, read: (text) => text.slice('cgroup='.length) },
};

/** The parts of a rule. The names of control groups may have colons in them (containerd's do), so theirs ends the rule. */
function split(spec: string): string[] {
  const at = spec.indexOf(':cgroup=');
  return at < 0 ? spec.split(':') : [...spec.slice(0, at).split(':'), spec.slice(at + 1)];
}

const examples: Record<Action, string> = {
  pass: 'read:0-2047 or write:pid=1',
  deny: 'write:0-2047, discard,write-zeroes or write:EIO:1%',
  delay: 'read:100ms, read,write:2048-:1s or write:10ms:5%',
};

/**
 * Reads a rule.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`
 */
export function parseRule(action: Action, spec: string): GuardRule {
  const wrong = (reason: string): BlkfilterError =>
    new BlkfilterError({
      code: 'ERR_BLKFILTER_ARGUMENT',
      reason: `'${spec}' is no rule to ${action}: ${reason}`,
      hint: `write one such as ${examples[action]}`,
    });
  const [operations = '', ...rest] = split(spec);
  if (operations === '') throw wrong('it names no operation');

  const found: Record<string, unknown> = {};
  for (const text of rest) {
    const [name, part] = Object.entries(parts).find(([, { form }]) => form.test(text)) ?? [];
    if (!name || !part) throw wrong(`'${text}' is no range of sectors, errno, time or chance`);
    if (part.of && part.of !== action) throw wrong(`'${text}' says how to ${part.of}`);
    if (name in found) throw wrong(`'${text}' is its second ${name}`);
    found[name] = part.read(text);
  }
  if (action === 'delay' && !('delay' in found)) throw wrong('it does not say for how long, such as 100ms');
  // What the values may be is for the API to check.
  const named = operations === 'all' ? {} : { operations: operations.split(/[,|]/) as GuardOperation[] };
  return { action, ...named, ...found } as GuardRule;
}

/** The options that are rules, by what they do. To fail is to deny. */
const kinds = [
  ['deny', 'deny', 'fail these requests'],
  ['fail', 'deny', 'the same'],
  ['delay', 'delay', 'let these requests go on later'],
  ['pass', 'pass', 'let these requests pass, whatever later rules say'],
] as const;

/** What {@link addRuleOptions} leaves among the others. */
export interface RuleFlags {
  readOnly?: true;
}

/**
 * Has a command take rules.
 * @returns what gives those that were typed, in that order, whatever their kinds. A write blocker has no exceptions: it is the
 *   first, wherever it was typed
 */
export function addRuleOptions(command: Command): (flags: RuleFlags) => GuardRule[] {
  const typed: GuardRule[] = [];
  command.option('--read-only', 'a write blocker: no request that changes data gets through; the first rule');
  for (const [name, action, description] of kinds) {
    command.option(`--${name} <spec>`, `${description}; may be repeated`, (spec: string) => {
      typed.push(parseRule(action, spec));
    });
  }
  return (flags) => (flags.readOnly ? [readOnly, ...typed] : typed);
}

/** The kernel counts in millionths. */
export const formatChance = (chance = 1): string => `${Number((chance * 100).toFixed(4))}%`;

export const formatSectors = (range?: { sector: number; count?: number }): string =>
  range ? `${range.sector}-${range.count ? range.sector + range.count - 1 : ''}` : 'all';

/** A rule as it would be typed, with the name of its option. */
export function formatRule(rule: GuardRule): string {
  if (isDeepStrictEqual(rule, readOnly)) return 'read-only';
  const parts = [
    rule.operations?.join(',') ?? 'all',
    rule.range && formatSectors(rule.range),
    rule.action === 'deny' && rule.error,
    rule.action === 'delay' && formatDuration(Number(rule.delay)),
    rule.chance !== undefined && formatChance(rule.chance),
  ];
  return `${rule.action} ${parts.filter(Boolean).join(':')}`;
}
