// SPDX-License-Identifier: MIT
// Attach rules: which filter a device gets that appears, before its first I/O. The kernel holds them, see
// kernel/core/rules.c.
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';

import { fromRuleWords, ruleOptionsOf, ruleWordsOf } from './device.js';
import { BlkfilterError, notLoaded } from './errors.js';
import { check, filterName, refineOptions } from './options.js';
import { coreLoaded } from './sysfs.js';

const file = '/sys/module/blkfilter/parameters/rules';

const keys = ['kind', 'name', 'partuuid', 'serial', 'wwid'] as const;
type Key = (typeof keys)[number];

const pattern = z.string().regex(/^[^\s\0]+$/, "not a pattern: no blanks; '?' stands for one");
const patternsOf = <Schema extends z.ZodType>(schema: Schema) =>
  z.strictObject({ kind: schema, name: schema, partuuid: schema, serial: schema, wwid: schema }).partial();

const wantedSchema = patternsOf(pattern)
  .extend({
    filter: filterName,
    except: patternsOf(z.array(pattern).min(1)).optional(),
    options: z.record(z.string(), z.unknown()).optional(),
  })
  .refine((rule) => keys.some((key) => rule[key] !== undefined || rule.except?.[key] !== undefined), {
    error: `give at least one of ${keys.slice(0, -1).join(', ')} and ${keys.at(-1)}`,
  });

/** @internal */
export const ruleSchema = wantedSchema.superRefine(({ filter, options }, context) => {
  refineOptions(ruleOptionsOf(filter), options, context);
});

/**
 * Gives a filter to each disk and partition that appears and matches all of its patterns, which are those of a shell
 * (`sd*`, `naa.5000c500????????`). At least one is needed. Devices that are there already are none of its business.
 */
export interface AttachRule {
  /** The filter's registered name. Its module cannot be unloaded as long as the rule exists. */
  filter: string;
  /**
   * `disk`, one that is a device of its own; `partition`, one of such a disk; or `virtual`: loop, RAM, device-mapper and RAID
   * devices and their partitions.
   */
  kind?: string | undefined;
  /** The kernel's name of the disk or partition, such as `sdb` or `nvme0n1p2`. */
  name?: string | undefined;
  /** The partition's UUID in its partition table. A disk has none. */
  partuuid?: string | undefined;
  /** The serial number of the disk (SCSI and SATA), which its partitions share. */
  serial?: string | undefined;
  /** The disk's world-wide name, `naa.…` or `eui.…`, which its partitions share. */
  wwid?: string | undefined;
  /** Not those that match one of these. What is not known of a device matches none. */
  except?: Partial<Record<Key, string[] | undefined>> | undefined;
  /**
   * The filter's own, in force before the device's first I/O: those of `attach`. A rule for `guard` needs some, and names no
   * process or control group in them; `trace` takes none here.
   */
  options?: Record<string, unknown> | undefined;
}

/** Its patterns, a word each. */
export const patternWords = (rule: AttachRule): string[] => [
  ...keys.flatMap((key) => (rule[key] === undefined ? [] : [`${key}=${rule[key]}`])),
  ...keys.flatMap((key) => (rule.except?.[key] ?? []).map((one) => `${key}!=${one}`)),
];

function optionWords({ filter, options }: AttachRule): string[] {
  if (options === undefined) return [];
  const words = ruleWordsOf(filter, check(ruleOptionsOf(filter), options, 'rule.options'));
  return words.length ? ['--', ...words] : [];
}

/** A rule as the kernel takes it. */
export const lineOf = (rule: AttachRule): string => [rule.filter, ...patternWords(rule), ...optionWords(rule)].join(' ');

function ruleOf(line: string): AttachRule {
  const [patterns = '', options] = line.split(' -- ');
  const [filter = '', ...words] = patterns.split(' ');
  const rule: AttachRule = { filter };
  for (const word of words) {
    const [, key, not, value = ''] = /^(\w+)(!?)=(.*)$/.exec(word) ?? [];
    const known = keys.find((one) => one === key);
    if (!known) continue;
    if (not) ((rule.except ??= {})[known] ??= []).push(value);
    else rule[known] = value;
  }
  if (options !== undefined) rule.options = fromRuleWords(filter, options.split(' '));
  return rule;
}

function explain(error: NodeJS.ErrnoException, verb: string, rule?: AttachRule): Error {
  const { code = '', errno } = error;
  const explanations: Record<string, [reason: string, hint: string]> = {
    EACCES: ['permission denied', 'run it as root'],
    EPERM: ['operation not permitted', 'run it as root'],
    EEXIST: ['there is such a rule already', '`blkfilter rule list` shows them'],
    EBUSY: ['there is such a rule already, with other options', 'remove it first: that needs no options'],
    EINVAL: [
      'the kernel does not take such a rule',
      'package and modules may be of different versions: `blkfilter doctor` tells',
    ],
    ENOSPC: ['there are too many rules: their list is limited to 4 KiB', 'remove some, or use patterns'],
    ENOENT:
      verb === 'add'
        ? [`no filter named '${rule?.filter}' is registered`, `load its module: \`modprobe blkfilter_${rule?.filter}\``]
        : ['there is no such rule', '`blkfilter rule list` shows them'],
  };
  const [reason, hint] = explanations[code] ?? [];
  if (!reason) return error;
  return new BlkfilterError({ code, errno, syscall: 'write', path: file, reason, hint });
}

async function access<T>(verb: string, rule: AttachRule | undefined, run: () => Promise<T>): Promise<T> {
  if (!coreLoaded()) throw new BlkfilterError(notLoaded);
  try {
    return await run();
  } catch (error) {
    throw explain(error as NodeJS.ErrnoException, verb, rule);
  }
}

/** The rules, in the order in which they were added. */
export async function list(): Promise<AttachRule[]> {
  const text = await access('list', undefined, () => readFile(file, 'utf8'));
  return text.split('\n').filter(Boolean).map(ruleOf);
}

/**
 * Adds a rule.
 * @throws {BlkfilterError} `EEXIST` it is there already, `EBUSY` with other options; `ENOENT` no such filter is registered; `ENOSPC` too many;
 * `EACCES` not root; `EMODULE` the core is not loaded; `ERR_BLKFILTER_ARGUMENT`
 */
export async function add(rule: AttachRule): Promise<void> {
  const checked = check(ruleSchema, rule, 'rule');
  await access('add', checked, () => writeFile(file, `add ${lineOf(checked)}`));
}

/**
 * Removes a rule. What it has attached stays attached. Its options may be left out.
 * @throws {BlkfilterError} `ENOENT` there is no such rule; others as of {@link add}
 */
export async function remove(rule: AttachRule): Promise<void> {
  const checked = check(wantedSchema, rule, 'rule');
  await access('remove', checked, () => writeFile(file, `remove ${lineOf(checked)}`));
}
