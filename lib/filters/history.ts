// SPDX-License-Identifier: MIT
// Which epochs the kernel knows of, and what people call them.
import { z } from 'zod';

import { epoch, markOf, type Mark } from '../mark.js';
import { generation } from '../options.js';

/** The beginning of an epoch. */
export interface HistoryEntry {
  mark: Mark;
  epoch: number;
  /** When it was: ISO 8601. */
  time: string;
  /** What somebody has called it; null if nobody has. */
  name: string | null;
}

/**
 * The epochs of a generation. The kernel keeps those that have a name, and the newest of the others: see
 * `ChangeTracker.history`.
 */
export interface History {
  generation: string;
  /** Why it began, see `CbtInfo.gap`. */
  gap: string;
  /** When the generation began: ISO 8601. */
  began: string;
  /** The newest of the epochs. */
  mark: Mark;
  /** In ascending order. */
  epochs: HistoryEntry[];
}

const time = z.number().transform((milliseconds) => new Date(milliseconds).toISOString());

/** What the addon gives. */
export const historyAnswer = z
  .object({
    generation,
    gap: z.string(),
    began: time,
    epochs: z.array(z.object({ epoch, time, name: z.string().transform((name) => name || null) })).min(1),
  })
  .transform(({ epochs, ...rest }): History => {
    const { generation } = rest;
    const entries = epochs.map((entry) => ({ mark: markOf({ generation, epoch: entry.epoch }), ...entry }));
    return { ...rest, mark: entries.at(-1)?.mark ?? markOf({ generation, epoch: 1 }), epochs: entries };
  });
