// SPDX-License-Identifier: MIT
// Commands that others run when the machine starts: how their words are written, and whether their files are there then.
import { stat } from 'node:fs/promises';

/** A word for a shell. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** A word for a unit of systemd, see systemd.service(5); for a command that begins with a colon, which leaves `$` alone. */
export const unitWord = (text: string): string => `"${text.replace(/["\\]/g, '\\$&').replaceAll('%', '%%')}"`;

/**
 * Why files may be missing while file systems are not mounted yet. The root and /usr are, by then.
 * @returns for each file that may, a sentence
 */
export async function lateReasons(paths: string[]): Promise<string[]> {
  const early = await Promise.all(['/', '/usr'].map(async (path) => (await stat(path)).dev));
  const reasons = await Promise.all(
    paths.map(async (path) => {
      if (path.includes('/_npx/')) return `${path} is in the cache of npx, which is cleared: install the package`;
      if (early.includes((await stat(path)).dev)) return [];
      return `${path} is not on the root file system, and not there yet when the configuration is applied: install it there`;
    }),
  );
  return reasons.flat();
}
