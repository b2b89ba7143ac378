// SPDX-License-Identifier: MIT
// The configuration that is applied at each start of the machine: which filters which devices get.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

import { open, optionsOf } from './device.js';
import { BlkfilterError } from './errors.js';
import type { Filter } from './filters/filter.js';
import { load } from './modules.js';
import { check, filterName, refineOptions } from './options.js';
import * as rules from './rules.js';

/** Where it is, unless told. */
export const defaultPath = '/etc/blkfilter/config.json';

const deviceSchema = z
  .strictObject({
    device: z.string().startsWith('/', 'the path of a device, such as /dev/disk/by-id/…'),
    filter: filterName,
    options: z.record(z.string(), z.unknown()).optional(),
  })
  .superRefine(({ filter, options }, context) => {
    refineOptions(optionsOf(filter), options, context);
  });

const schema = z.strictObject({
  rules: z.array(rules.ruleSchema).default([]),
  devices: z.array(deviceSchema).default([]),
});

/** A device, and a filter that it gets. */
export interface ConfiguredDevice {
  /** The path of its node. */
  device: string;
  filter: string;
  /** The filter's own. */
  options?: Record<string, unknown> | undefined;
}

/** What a configuration says. */
export interface Config {
  /** For devices that appear later: the kernel gives them their filters before their first I/O. */
  rules: rules.AttachRule[];
  /** For devices that are there already, or come while the machine starts. */
  devices: ConfiguredDevice[];
}

/** What became of a device of the configuration. */
export interface Applied {
  device: string;
  filter: string;
  /** Null when the filter is attached, by this call or since earlier, and goes by the options that it is given. */
  error: BlkfilterError | null;
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = `it is no JSON: ${(cause as Error).message}`;
    throw new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: 'mend it', path, cause });
  }
}

/**
 * Reads a configuration and checks it, as far as can be told without its devices.
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`, which names what is wrong; `ENOENT`
 */
export async function read(path = defaultPath): Promise<Config> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const { code = 'EIO', errno } = cause as NodeJS.ErrnoException;
    const hint = 'the manual, blkfilter(8), says what it looks like';
    throw new BlkfilterError({ code, errno, syscall: 'open', reason: 'the configuration cannot be read', hint, path, cause });
  });
  return check(schema, parse(text, path), path);
}

const isAlready = (error: unknown, code: string): boolean => error instanceof BlkfilterError && error.code === code;

async function attach({ device: path, filter, options }: ConfiguredDevice): Promise<void> {
  const device = await open(path);
  try {
    await device.attach<string>(filter, (options ?? {}) as Record<string, never>);
  } catch (error) {
    if (!isAlready(error, 'EALREADY')) throw error;
    // By a rule, by hand or by an earlier call: with options of its own.
    const attached: Filter = await device.filter<string>(filter);
    if (options) await attached.reconfigure(check(optionsOf(filter), options, filter));
  } finally {
    await device.close();
  }
}

/**
 * Does what a configuration says: loads the modules, adds the rules, attaches the filters. A filter that is attached already
 * stays, and gets the options of its entry if there are any; `cbt` cannot change its own, so others are an error.
 * @param config as {@link read} gives it
 * @param wait for how many milliseconds to wait for devices that are not there yet
 * @returns for each device what became of it
 * @throws {BlkfilterError} `EMODULE`; `EACCES` not root; others of {@link rules.add}
 */
export async function apply(config: Config, wait = 0): Promise<Applied[]> {
  const end = Date.now() + wait;
  await load();
  for (const rule of config.rules) {
    await rules.add(rule).catch((error: unknown) => {
      if (!isAlready(error, 'EEXIST')) throw error;
    });
  }
  return Promise.all(
    config.devices.map(async (entry): Promise<Applied> => {
      const { device, filter } = entry;
      while (!existsSync(device) && Date.now() < end) await sleep(100);
      try {
        await attach(entry);
        return { device, filter, error: null };
      } catch (error) {
        if (!(error instanceof BlkfilterError)) throw error;
        return { device, filter, error };
      }
    }),
  );
}
