// SPDX-License-Identifier: MIT
// Freezing file systems, so that what is on the disk is as clean as after an unmount.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { BlkfilterError } from './errors.js';
import { mountsAbove } from './stack.js';
import { output, toolEnvironment } from './tools.js';

/** The longest that file systems stay frozen, in seconds: whoever writes to them waits for that long. */
const LONGEST = 60;

/** The status that says that this was too short. */
const LATE = 3;

/** A file system that could not be frozen, or not for long enough. */
export interface NotFrozen {
  path: string;
  /** What `fsfreeze` said, or what else kept it from that. */
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
exit $((late ? ${LATE} : 0))
`;

const interrupted = (): BlkfilterError =>
  new BlkfilterError({ code: 'EPROTO', reason: 'freezing was interrupted', hint: 'try again, or go without' });

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
    this.#ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', resolve);
    }).then(async (status) => {
      // It was killed. What it has frozen must not wait for it.
      if (status !== 0 && status !== LATE) await this.#unfreeze();
      return status;
    });
    this.#ended.catch(() => undefined);
    child.stdin.on('error', () => undefined);
  }

  /**
   * Freezes all file systems that are mounted on devices or on what is built on them, for 60 seconds at most. Those that
   * are mounted read-only need it not.
   * @param names the kernel's names of the devices
   * @returns undefined when none is mounted
   */
  static async above(...names: string[]): Promise<Freeze | undefined> {
    const mounts = (await mountsAbove(...names)).filter(({ readOnly }) => !readOnly);
    if (mounts.length === 0) return undefined;
    const freeze = new Freeze(mounts.filter(({ hidden }) => !hidden).map(({ path }) => path));
    const reason = 'something else is mounted over it';
    freeze.failed.push(...mounts.filter(({ hidden }) => hidden).map(({ path }) => ({ path, reason })));
    for await (const line of createInterface(freeze.#guard.stdout)) {
      const [, word, rest = ''] = /^(\w+) ?(.*)$/s.exec(line) ?? [];
      if (word === 'ready') return freeze;
      if (word === 'frozen') freeze.frozen.push(rest);
      const [, path = rest, reason = rest] = /^fsfreeze: (.*?): (.*)$/.exec(rest) ?? [];
      if (word === 'failed') freeze.failed.push({ path, reason });
    }
    await freeze.thaw();
    throw interrupted();
  }

  /**
   * Thaws them. Once more does nothing. Those that were thawed before, because the time was up, are listed as failed then.
   * @throws {BlkfilterError} `ETIMEDOUT` there are such; `EPROTO` whoever keeps them frozen was killed
   */
  async thaw(): Promise<void> {
    this.#guard.stdin.end();
    const status = await this.#ended;
    if (status === 0) return;
    if (status !== LATE) {
      // What it had said may have been read only now.
      await this.#unfreeze();
      throw interrupted();
    }
    const early = this.frozen.splice(0);
    this.failed.push(...early.map((path) => ({ path, reason: `thawed after ${LONGEST} seconds, which was too early` })));
    throw new BlkfilterError({
      code: 'ETIMEDOUT',
      reason: `the file systems (${early.join(', ')}) were thawed after ${LONGEST} seconds, which was too early`,
      hint: 'try again when less is written to them',
    });
  }

  async #unfreeze(): Promise<void> {
    for (const path of this.frozen) await output('fsfreeze', '--unfreeze', path);
  }
}
