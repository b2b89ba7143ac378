// SPDX-License-Identifier: MIT

/** Runs something that SIGINT and SIGTERM stop by its signal; a second one ends the process at once. */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => {
    controller.abort();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const name of signals) process.once(name, stop);
  try {
    return await run(controller.signal);
  } finally {
    for (const name of signals) process.off(name, stop);
  }
}
