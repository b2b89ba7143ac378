// SPDX-License-Identifier: MIT
import { BlkfilterError } from './errors.js';
import { Freeze, type NotFrozen } from './freeze.js';
import { missingMembers, unique, type MissingMember } from './members.js';

/** What was frozen meanwhile. */
export interface Frozen {
  /** Where the file systems are mounted that were frozen. Empty: none is mounted, or they do not know how. */
  frozen: string[];
  /** Those that were not, or not for all of it. */
  notFrozen: NotFrozen[];
}

/** How to do something at one moment of several devices. */
interface MomentOptions {
  freeze: boolean;
  /** It is no error that file systems were thawed too early. */
  lateIsFine?: boolean;
}

/**
 * Does something while the file systems on devices, and on what is built on them, are frozen: all of them, once.
 * @param names the kernel's names of the devices
 * @param work is given what is frozen; undefined when nothing is mounted
 * @returns also, for each of the names, which other devices have a part of what lies on it
 * @throws {BlkfilterError} as {@link Freeze}, and what `work` throws. All are thawed then, too
 */
export async function atOneMoment<T>(
  names: string[],
  { freeze: wanted, lateIsFine = false }: MomentOptions,
  work: (freeze?: Freeze) => Promise<T>,
): Promise<Frozen & { result: T; missing: Map<string, MissingMember[]> }> {
  // Before and after: while file systems are frozen no program may be needed, and one may just come or go.
  const before = await missingMembers(names);
  const freeze = wanted ? await Freeze.above(...names) : undefined;
  let result;
  try {
    result = await work(freeze);
  } finally {
    await freeze?.thaw().catch((error: unknown) => {
      if (!(lateIsFine && error instanceof BlkfilterError && error.code === 'ETIMEDOUT')) throw error;
    });
  }
  const after = await missingMembers(names);
  const missing = new Map(names.map((name) => [name, unique([before, after].flatMap((members) => members.get(name) ?? []))]));
  return { result, missing, frozen: freeze?.frozen ?? [], notFrozen: freeze?.failed ?? [] };
}
