// SPDX-License-Identifier: MIT
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';

import { run } from './run.js';

const ROOT = '/sys/kernel/config/nullb';

/** Disks of null_blk, 64 MiB each, by the name of their folder in configfs. */
export class Nulls {
  readonly names: string[];
  readonly devices: string[];

  constructor(count: number, settings: Record<string, number> = {}) {
    run('modprobe', 'null_blk', 'nr_devices=0');
    // Newer kernels call the disk like the folder, older ones by its number.
    this.names = Array.from({ length: count }, (_, i) => `nullb${i}`);
    this.devices = this.names.map((name) => `/dev/${name}`);
    for (const name of this.names) {
      mkdirSync(`${ROOT}/${name}`);
      for (const [key, value] of Object.entries({ size: 64, memory_backed: 1, ...settings, power: 1 })) {
        writeFileSync(`${ROOT}/${name}/${key}`, String(value));
      }
    }
  }

  /** Takes the disks away; what holds one open may go on doing so. */
  powerOff(): void {
    for (const name of this.names) writeFileSync(`${ROOT}/${name}/power`, '0');
  }

  remove(): void {
    for (const name of this.names) rmdirSync(`${ROOT}/${name}`);
    run('rmmod', 'null_blk');
  }
}
