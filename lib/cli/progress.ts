// SPDX-License-Identifier: MIT
import type { SingleBar } from 'cli-progress';

import { formatSize, type SyncProgress } from '../index.js';
import { type OutputOptions } from './output.js';

/** Lines of JSON at most this often, in milliseconds. */
const INTERVAL = 500;

/** Shows how far a run has come. */
export interface ProgressView {
  show(progress: SyncProgress): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

const verbs: Record<SyncProgress['phase'], string> = { copy: 'copying', verify: 'comparing' };

/** A bar on stderr, with rate and time left; a new one for each pass. */
class Bar implements ProgressView {
  readonly #bar: SingleBar;
  #what = '';
  #since = 0;

  private constructor(bar: SingleBar) {
    this.#bar = bar;
  }

  static async make(): Promise<Bar> {
    // Loaded when one is drawn: no other command has to wait for it.
    const { Presets, SingleBar } = (await import('cli-progress')).default;
    const format = '{what} [{bar}] {percentage}% | {at} of {of} | {rate}/s | {left} left';
    const options = { format, stream: process.stderr, hideCursor: true, clearOnComplete: true };
    return new Bar(new SingleBar(options, Presets.rect));
  }

  show({ source, phase, pass, done, total }: SyncProgress): void {
    const what = `${verbs[phase]} ${source}, pass ${pass}`;
    const now = performance.now();
    if (what !== this.#what) {
      this.stop();
      this.#what = what;
      this.#since = now;
      this.#bar.start(total, 0, { what, at: '', of: '', rate: '', left: '' });
    }
    const rate = (done / Math.max(1, now - this.#since)) * 1000;
    const seconds = rate > 0 ? Math.round((total - done) / rate) : undefined;
    this.#bar.setTotal(total);
    this.#bar.update(done, {
      at: formatSize(done),
      of: formatSize(total),
      rate: formatSize(Math.round(rate)),
      left: seconds === undefined ? 'some time' : formatTime(seconds),
    });
  }

  stop(): void {
    if (this.#what) this.#bar.stop();
    this.#what = '';
  }
}

const formatTime = (seconds: number): string =>
  seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;

/** An object a line on stdout. */
class Lines implements ProgressView {
  #last = -Infinity;
  #full = false;

  show(progress: SyncProgress): void {
    const now = performance.now();
    const full = progress.done === progress.total;
    // What changes meanwhile makes a pass longer than was thought: it may be full more than once.
    if ((!full || this.#full) && now - this.#last < INTERVAL) return;
    this.#last = now;
    this.#full = full;
    process.stdout.write(`${JSON.stringify({ event: 'progress', ...progress })}\n`);
  }

  stop(): void {
    // Each line is complete.
  }
}

/** A bar for people who look at a terminal, lines for programs, and nothing for logs. */
export async function progressView({ json }: OutputOptions): Promise<ProgressView | undefined> {
  if (json) return new Lines();
  return process.stderr.isTTY ? Bar.make() : undefined;
}
