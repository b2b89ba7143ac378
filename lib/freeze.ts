// SPDX-License-Identifier: MIT
// Freezing file systems, so that what is on the disk is as clean as after an unmount.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { BlkfilterError } from './errors.js';
import { mountsAbove } from './stack.js';
import { toolEnvironment } from './tools.js';

/** The longest that file systems stay frozen, in seconds: whoever writes to them waits for that long. */
const LONGEST = 60;

/** A file system that could not be frozen. */
export interface NotFrozen {
  path: string;
  /** What `fsfreeze` said. */
  reason: string;
}

/*
 * A frozen file system that nobody thaws stops the machine. So a process of its own freezes and thaws: when this one ends,
 * however that is, its standard input ends, and it thaws; and it thaws when the time is up. It speaks in lines, and
 * writes to a pipe only, for a file might be on a frozen file system. No signal that can be ignored ends it: not that of
 * the pipe either, which nobody may read any more when it says what it has just frozen.
 */
const guard = `
trap '' HUP INT PIPE TERM
seconds=$1
shift
for mount; do
	if said=$(fsfreeze --freeze "$mount" 2>&1); then
		set -- "$@" "$mount"
		echo "frozen $mount"
	else
		echo "failed $said"
	fi
	shift
done
echo ready
timeout --signal=KILL "$seconds" cat >/dev/null
late=$?
for mount; do fsfreeze --unfreeze "$mount" 2>/dev/null; done
exit $((late ? 3 : 0))
`;

/** File systems that are frozen until {@link Freeze.thaw}, or until this process ends. */
export class Freeze {
  /** Where they are mounted. */
  readonly frozen: string[] = [];
  /** Those that do not know how, such as vfat. */
  readonly failed: NotFrozen[] = [];
  readonly #guard;
  readonly #ended: Promise<number | null>;

  private constructor(paths: string[]) {
    // A group of its own: an interrupt from the terminal must not end it.
    const child = spawn('sh', ['-c', guard, 'freeze', String(LONGEST), ...paths], {
      detached: true,
      env: toolEnvironment,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    this.#guard = child;
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', resolve);
    });
    this.#ended.catch(() => undefined);
    child.stdin.on('error', () => undefined);
  }

  /**
   * Freezes all file systems that are mounted on a device or on what is built on it, for 60 seconds at most. Those that
   * are mounted read-only need it not.
   * @param name the kernel's name of the device
   * @returns undefined when none is mounted
   */
  static async above(name: string): Promise<Freeze | undefined> {
    const paths = (await mountsAbove(name)).filter(({ readOnly }) => !readOnly).map(({ path }) => path);
    if (paths.length === 0) return undefined;
    const freeze = new Freeze(paths);
    for await (const line of createInterface(freeze.#guard.stdout)) {
      const [, word, rest = ''] = /^(\w+) ?(.*)$/s.exec(line) ?? [];
      if (word === 'ready') return freeze;
      if (word === 'frozen') freeze.frozen.push(rest);
      const [, path = rest, reason = rest] = /^fsfreeze: (.*?): (.*)$/.exec(rest) ?? [];
      if (word === 'failed') freeze.failed.push({ path, reason });
    }
    await freeze.thaw();
    throw new BlkfilterError({ code: 'EPROTO', reason: 'freezing was interrupted', hint: 'try again, or go without' });
  }

  /**
   * Thaws them. Once more does nothing.
   * @throws {BlkfilterError} `ETIMEDOUT` they were thawed before, because the time was up
   */
  async thaw(): Promise<void> {
    this.#guard.stdin.end();
    const status = await this.#ended;
    if (status === 0) return;
    throw new BlkfilterError({
      code: 'ETIMEDOUT',
      reason: `the file systems (${this.frozen.join(', ')}) were thawed after ${LONGEST} seconds, which was too early`,
      hint: 'try again when less is written to them',
    });
  }
}
