// SPDX-License-Identifier: MIT

import { BlkfilterError } from '../index.js';
import { readerGone } from './output.js';

/**
 * Runs something that SIGINT and SIGTERM stop by its signal; a second one ends the process at once.
 * @param stopped gives the result when it was stopped
 */
export async function stoppable<T>(run: (signal: AbortSignal) => Promise<T>, stopped: () => T): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => {
    controller.abort();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const name of signals) process.once(name, stop);
  try {
    return await run(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    return stopped();
  } finally {
    for (const name of signals) process.off(name, stop);
  }
}

/**
 * Likewise something that prints without an end, which a reader who has seen enough, such as head, stops too. Neither is a
 * failure.
 */
export async function endless(run: (signal: AbortSignal) => Promise<void>): Promise<void> {
  using gone = readerGone();
  try {
    await stoppable(
      (interrupted) => run(AbortSignal.any([interrupted, gone.signal])),
      () => undefined,
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/**
 * Runs something that is of no use when it was stopped.
 * @param path what it makes
 * @param hint what to do when it was stopped
 * @throws {BlkfilterError} `EINTR` it was stopped; else what it throws
 */
export async function interruptible<T>(
  path: string,
  hint: string,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return stoppable(run, () => {
    throw new BlkfilterError({ code: 'EINTR', reason: 'interrupted', hint, path });
  });
}
