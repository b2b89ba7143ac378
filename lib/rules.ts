// SPDX-License-Identifier: MIT
// Attach rules: which filter a device gets that appears, before its first I/O. The kernel holds them, see
// kernel/core/rules.c.
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';

import { BlkfilterError, notLoaded } from './errors.js';
import { check, filterName } from './options.js';
import { coreLoaded } from './sysfs.js';

const file = '/sys/module/blkfilter/parameters/rules';

const keys = ['name', 'partuuid', 'serial', 'wwid'] as const;

const pattern = z.string().regex(/^[^\s\0]+$/, "not a pattern: no blanks; '?' stands for one");

/** @internal */
export const ruleSchema = z
  .strictObject({
    filter: filterName,
    name: pattern.optional(),
    partuuid: pattern.optional(),
    serial: pattern.optional(),
    wwid: pattern.optional(),
  })
  .refine((rule) => keys.some((key) => rule[key] !== undefined), {
    error: 'give at least one of name, partuuid, serial and wwid',
  });

/**
 * Gives a filter to each disk and partition that appears and matches all of its patterns, which are those of a shell
 * (`sd*`, `naa.5000c500????????`). At least one is needed. Devices that are there already are none of its business.
 */
export interface AttachRule {
  /** The filter's registered name. Its module cannot be unloaded as long as the rule exists. */
  filter: string;
  /** The kernel's name of the disk or partition, such as `sdb` or `nvme0n1p2`. */
  name?: string | undefined;
  /** The partition's UUID in its partition table. A disk has none. */
  partuuid?: string | undefined;
  /** The serial number of the disk (SCSI and SATA), which its partitions share. */
  serial?: string | undefined;
  /** The disk's world-wide name, `naa.…` or `eui.…`, which its partitions share. */
  wwid?: string | undefined;
}

/** A rule as the kernel takes it. */
export const lineOf = (rule: AttachRule): string =>
  [rule.filter, ...keys.flatMap((key) => (rule[key] === undefined ? [] : [`${key}=${rule[key]}`]))].join(' ');

function ruleOf(line: string): AttachRule {
  const [filter = '', ...words] = line.split(' ');
  const rule: AttachRule = { filter };
  for (const word of words) {
    const at = word.indexOf('=');
    const key = keys.find((key) => key === word.slice(0, at));
    if (key) rule[key] = word.slice(at + 1);
  }
  return rule;
}

function explain(error: NodeJS.ErrnoException, verb: string, rule?: AttachRule): Error {
  const { code = '', errno } = error;
  const explanations: Record<string, [reason: string, hint: string]> = {
    EACCES: ['permission denied', 'run it as root'],
    EPERM: ['operation not permitted', 'run it as root'],
    EEXIST: ['there is such a rule already', '`blkfilter rule list` shows them'],
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
 * @throws {BlkfilterError} `EEXIST` it is there already; `ENOENT` no such filter is registered; `ENOSPC` too many;
 * `EACCES` not root; `EMODULE` the core is not loaded; `ERR_BLKFILTER_ARGUMENT`
 */
export async function add(rule: AttachRule): Promise<void> {
  const checked = check(ruleSchema, rule, 'rule');
  await access('add', checked, () => writeFile(file, `add ${lineOf(checked)}`));
}

/**
 * Removes a rule. What it has attached stays attached.
 * @throws {BlkfilterError} `ENOENT` there is no such rule; others as of {@link add}
 */
export async function remove(rule: AttachRule): Promise<void> {
  const checked = check(ruleSchema, rule, 'rule');
  await access('remove', checked, () => writeFile(file, `remove ${lineOf(checked)}`));
}
