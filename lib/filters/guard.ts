// SPDX-License-Identifier: MIT
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';

import { BlkfilterError } from '../errors.js';
import { native, type NativeAction, type NativeRule } from '../native.js';
import { check, checkAnswer, duration, rangeEndsExactly, whole } from '../options.js';
import { readIfThere } from '../sysfs.js';
import { Filter } from './filter.js';

/**
 * What a request does. A write that flushes too is a `write`; `flush` is one that does nothing else. `change` is any that
 * changes what the device holds, `other` any without a name here.
 */
export type GuardOperation =
  | 'read'
  | 'write'
  | 'flush'
  | 'discard'
  | 'secure-erase'
  | 'write-zeroes'
  | 'zone-append'
  | 'zone-open'
  | 'zone-close'
  | 'zone-finish'
  | 'zone-reset'
  | 'other'
  | 'change';

/** What becomes of a request. */
export type GuardAction =
  /** It goes on. */
  | { action: 'pass' }
  /** It fails, with `EIO` unless told. Any errno that the block layer can carry will do; an error lists them. */
  | { action: 'deny'; error?: string }
  /** It goes on later: after so many milliseconds, or text such as `2s`; no sooner, perhaps later. */
  | { action: 'delay'; delay: number | string };

/** Which requests, and what becomes of them. What is left out does not matter. */
export type GuardRule = GuardAction & {
  operations?: GuardOperation[];
  /** The request touches one of these sectors; without a count, up to the device's end. A flush touches none. */
  range?: { sector: number; count?: number };
  /** The process that submits it. What the kernel writes back later is submitted by the kernel's own. */
  pid?: number;
  /**
   * A control group that owns it, or an ancestor of that: its folder, or its id. What is written back later belongs to the
   * group of whoever wrote it.
   */
  cgroup?: string | number;
  /** That the rule applies where all else fits: 0.01 is one request of a hundred. The others go on to the next rule. */
  chance?: number;
};

/** Options of `attach('guard')`. */
export interface GuardOptions {
  /** The first that applies to a request decides. */
  rules?: GuardRule[];
  /** What becomes of requests that no rule applies to: they pass, unless told. */
  default?: GuardAction;
}

/** The rules in force, and how often each has decided since they were set. */
export interface GuardCounters {
  rules: (GuardRule & { applied: number })[];
  default: GuardAction & { applied: number };
  /** Requests that are being delayed now. */
  held: number;
}

/** The rule of a write blocker: no request that changes what the device holds gets through. */
export const readOnly: GuardRule = { operations: ['change'], action: 'deny', error: 'EIO' };

/* ---- Options --------------------------------------------------------------- */

/** A name in one of the kernel's tables. */
const nameIn = (table: Record<string, number>, what: string) =>
  z.enum(Object.keys(table), { error: ({ input }) => `'${String(input)}' is not ${what}: ${Object.keys(table).join(', ')}` });

/** Schemas of what both rules and the default have. */
function actions<Shape extends z.ZodRawShape>(shape: Shape) {
  const { delayMax, errors } = native().guard;
  const fits = (ms: number) => ms >= 1 && ms <= delayMax;
  const error = nameIn(errors, 'an errno that a block device can fail with');
  const delay = duration.refine(fits, `not from 1 to ${delayMax} ms`);
  return z.discriminatedUnion('action', [
    z.strictObject({ action: z.literal('pass'), ...shape }),
    z.strictObject({ action: z.literal('deny'), error: error.default('EIO'), ...shape }),
    z.strictObject({ action: z.literal('delay'), delay, ...shape }),
  ]);
}

/** Whose a request is. */
const owner = {
  pid: z.int().positive().max(0xffff_ffff).optional(),
  cgroup: z.union([z.string().startsWith('/', 'not a full path'), z.int().positive()]).optional(),
};

function guardOptions<Owner extends z.ZodRawShape>(owner: Owner) {
  const { always, operations, rulesMax } = native().guard;
  const range = z
    .strictObject({ sector: whole, count: z.int().positive().optional() })
    .refine(rangeEndsExactly, 'the range ends beyond any device');
  const rule = actions({
    operations: z.array(nameIn(operations, 'an operation')).min(1).optional(),
    range: range.optional(),
    chance: z.number().min(1 / always).max(1).optional(),
    ...owner,
  });
  const rest = actions({}).default({ action: 'pass' });
  return z.strictObject({ rules: z.array(rule).max(rulesMax).default([]), default: rest });
}

/** Of an attach rule: no process is known that a device will meet, and a guard without rules would let everything pass. */
const attachRuleOptions = () =>
  guardOptions({}).refine(({ rules, default: rest }) => rules.length > 0 || rest.action !== 'pass', {
    path: ['rules'],
    error: 'guard needs rules here: one without any lets everything pass',
  });

type AttachRuleOptions = z.output<ReturnType<typeof attachRuleOptions>>;
type CheckedOptions = z.output<ReturnType<typeof guardOptions<typeof owner>>>;
type CheckedRule = CheckedOptions['rules'][number];

/* ---- To and from the kernel ------------------------------------------------ */

const wrongCgroup = (reason: string, hint: string): BlkfilterError =>
  new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint });

/** The id of a control group, whose requests the kernel must know. */
async function cgroupId(path: string): Promise<number> {
  if ((await readIfThere(`${path}/cgroup.procs`)) === undefined) {
    throw wrongCgroup(`'${path}' is not a control group`, 'name its folder, such as /sys/fs/cgroup/system.slice');
  }
  const controllers = await readIfThere(`${path}/cgroup.controllers`);
  if (controllers !== undefined && !controllers.split(/\s/).includes('io')) {
    const switchOn = `echo +io > ${dirname(path)}/cgroup.subtree_control`;
    throw wrongCgroup(`the kernel does not account the I/O of '${path}'`, `switch that on: \`${switchOn}\``);
  }
  return (await stat(path)).ino;
}

/** Beyond the end of any device: to the kernel, sector 0 without a count is no range at all. */
const END = Number.MAX_SAFE_INTEGER;

const numberIn = (table: Record<string, number>, name: string): number => table[name] ?? 0;

function toNativeAction(to: CheckedOptions['default']): NativeAction {
  const { actions, errors } = native().guard;
  const argument = to.action === 'deny' ? numberIn(errors, to.error) : to.action === 'delay' ? to.delay : 0;
  return { action: numberIn(actions, to.action), argument };
}

function toNative(rule: AttachRuleOptions['rules'][number]): NativeRule {
  const { allOperations, always, operations } = native().guard;
  const { range, chance = 1 } = rule;
  return {
    ...toNativeAction(rule),
    operations: rule.operations?.reduce((bits, name) => bits | numberIn(operations, name), 0) ?? allOperations,
    sector: range?.sector ?? 0,
    count: range ? (range.count ?? END - range.sector) : 0,
    pid: 0,
    cgroup: 0,
    chance: Math.round(chance * always),
  };
}

async function toNativeOf({ pid = 0, cgroup = 0, ...rule }: CheckedRule): Promise<NativeRule> {
  return { ...toNative(rule), pid, cgroup: typeof cgroup === 'string' ? await cgroupId(cgroup) : cgroup };
}

const nativeAction = z.object({ action: whole, argument: whole, applied: whole });
const nativeRule = nativeAction.extend({
  sector: whole,
  count: whole,
  cgroup: whole,
  operations: whole,
  pid: whole,
  chance: whole,
});
const rulesAnswer = z.object({ rules: z.array(nativeRule), default: nativeAction, held: whole });

const nameOf = (table: Record<string, number>, number: number): string =>
  Object.entries(table).find(([, known]) => known === number)?.[0] ?? String(number);

function fromNativeAction({ action, argument }: NativeAction): GuardAction {
  const { actions, errors } = native().guard;
  switch (nameOf(actions, action)) {
    case 'deny':
      return { action: 'deny', error: nameOf(errors, argument) };
    case 'delay':
      return { action: 'delay', delay: argument };
    default:
      return { action: 'pass' };
  }
}

function fromNative(rule: NativeRule): GuardRule {
  const { allOperations, always, operations } = native().guard;
  const { sector, count, pid, cgroup, chance } = rule;
  const named = Object.keys(operations).filter((name) => rule.operations & numberIn(operations, name)) as GuardOperation[];
  return {
    ...fromNativeAction(rule),
    ...(rule.operations !== allOperations && { operations: named }),
    ...((sector || count) && { range: { sector, ...(count && sector + count < END && { count }) } }),
    ...(pid && { pid }),
    ...(cgroup && { cgroup }),
    ...(chance !== always && { chance: chance / always }),
  };
}

/* ---- To and from an attach rule, see kernel/guard/options.c ------------------ */

const READ_ONLY = 'read-only';

function toWord(rule: AttachRuleOptions['rules'][number]): string {
  if (isDeepStrictEqual(rule, readOnly)) return READ_ONLY;
  const { operations, argument, sector, count, chance } = toNative(rule);
  return `${rule.action}=${[operations, argument, sector, count, chance].join(':')}`;
}

function fromWord(word: string): GuardRule {
  if (word === READ_ONLY) return readOnly;
  const [action = '', numbers = ''] = word.split('=');
  const [operations = 0, argument = 0, sector = 0, count = 0, chance = 0] = numbers.split(':').map(Number);
  const { actions } = native().guard;
  return fromNative({ action: numberIn(actions, action), argument, operations, sector, count, pid: 0, cgroup: 0, chance });
}

/* ---- The filter ------------------------------------------------------------ */

/**
 * Denies, delays or passes the requests to a device by rule. What is no request of the block layer, such as SG_IO and NVMe
 * passthrough commands, passes no filter and cannot be denied: `BlockDevice.bypassed` counts them.
 */
export class Guard extends Filter {
  static override options() {
    return guardOptions(owner);
  }

  /** @internal */
  static override ruleOptions() {
    return attachRuleOptions();
  }

  /** @internal */
  static override ruleWords({ rules, default: rest }: AttachRuleOptions): string[] {
    return [...rules, ...(rest.action === 'pass' ? [] : [rest])].map(toWord);
  }

  /** @internal */
  static override fromRuleWords(words: string[]): GuardOptions & Record<string, unknown> {
    return { rules: words.map(fromWord) };
  }

  /** @internal */
  override async configure(options: CheckedOptions): Promise<void> {
    const rules = await Promise.all(options.rules.map(toNativeOf));
    const rest = toNativeAction(options.default);
    await this.connection.call(this.name, (handle) => native().guard.setRules(handle, rules, rest));
  }

  /**
   * What the kernel waits for comes after the rules are in place.
   * @internal
   */
  override inForce(error: unknown): boolean {
    return error instanceof BlkfilterError && (error.code === 'ETIMEDOUT' || error.code === 'ENOTSUP');
  }

  /**
   * Replaces all rules and the default at once, and begins to count anew. Requests that are being delayed are let go. When
   * this is done, all that the old rules let pass has completed: nothing that the new ones deny reaches the device.
   * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT` a rule is wrong, and nothing was changed; `ETIMEDOUT` or `ENOTSUP`
   *   what is in flight did not complete, or cannot be known: the new rules are in force all the same; `EPERM`; `ENOENT`
   *   guard is not attached
   */
  async setRules(options: GuardOptions): Promise<void> {
    await this.configure(check(guardOptions(owner), options, 'rules'));
  }

  /**
   * The rules in force, and how often each has decided.
   * @throws {BlkfilterError} `ENOENT` guard is not attached; `ENODEV`
   */
  async counters(): Promise<GuardCounters> {
    const answer = await this.connection.call(this.name, (handle) => native().guard.getRules(handle));
    const { rules, default: rest, held } = checkAnswer(rulesAnswer, answer, 'counters');
    return {
      rules: rules.map((rule) => ({ ...fromNative(rule), applied: rule.applied })),
      default: { ...fromNativeAction(rest), applied: rest.applied },
      held,
    };
  }
}
