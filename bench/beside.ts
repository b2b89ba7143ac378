// SPDX-License-Identifier: MIT
//
// What is attached to the disks of null_blk that are measured, or lies above them, or runs beside: each is begun, and gives
// what ends it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { open, type FilterTypes, type GuardRule, type OptionsOf } from 'blkfilter';

import { sh, unhooked } from './measure.js';

const SECTORS = (64 * 2 ** 30) / 512;

export const BENCH = '/dev/mapper/bench';

export type End = () => Promise<void>;

/** Attaches a filter to each of the devices, and gives what detaches it. */
export const attachTo = (...devices: string[]) => async <Name extends keyof FilterTypes>(filter: Name, options?: OptionsOf<Name>): Promise<End> => {
  for (const path of devices) {
    await using device = await open(path);
    await device.attach(filter, options);
  }
  return async () => {
    for (const path of devices) {
      await using device = await open(path);
      await device.detach(filter);
    }
    await unhooked();
  };
};

/** One after the other, and undone in the opposite order. */
export async function allOf(...begins: (() => Promise<End>)[]): Promise<End> {
  const ends: End[] = [];
  for (const begin of begins) ends.unshift(await begin());
  return async () => {
    for (const end of ends) await end();
  };
}

/** Rules that apply to no request of this benchmark. */
export const guardRules = (count: number): GuardRule[] =>
  Array.from({ length: count }, (_, i) => ({ action: 'deny', operations: ['write'], range: { sector: SECTORS - 1 - i, count: 1 } }));

/** Starts a program that sees requests go by, and gives what ends it. */
export async function running(command: string, ...args: string[]): Promise<End> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  child.stdout.resume();
  // Under emulation a compiler of probes takes its time.
  await sleep(15_000);
  if (child.exitCode !== null) throw new Error(`${command} has ended already`);
  return async () => {
    child.kill('SIGINT');
    await ended;
  };
}

/** A device-mapper target on top, as {@link BENCH}. */
export function dm(target: string): () => Promise<() => unknown> {
  return () => {
    sh(`dmsetup create bench --table '0 ${SECTORS} ${target}'`);
    return Promise.resolve(() => sh('dmsetup remove --retry bench'));
  };
}
