// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import { SECTOR_SIZE, filteredDevices, formatSize, open, type FilteredDevice } from '../../index.js';
import { example } from '../example.js';
import { answer, table, type OutputOptions } from '../output.js';

async function statusOf(path: string): Promise<FilteredDevice> {
  const device = await open(path);
  try {
    return { path, sectors: await device.sectors(), filters: await device.filters(), bypassed: await device.bypassed() };
  } finally {
    await device.close();
  }
}

async function status(path: string | undefined, options: OutputOptions): Promise<void> {
  const devices = path === undefined ? await filteredDevices() : [await statusOf(path)];
  await answer(options, { devices }, () =>
    devices.length
      ? table(
          ['DEVICE', 'SECTORS', 'SIZE', 'FILTERS', 'BYPASSED'],
          devices.map(({ path, sectors, filters, bypassed }) => [
            path,
            String(sectors),
            formatSize(sectors * SECTOR_SIZE),
            filters.map(({ name, altitude }) => `${name} (${altitude ?? 'altitude unknown'})`).join(', ') || 'none',
            String(bypassed),
          ]),
        )
      : 'no device has a filter attached',
  );
}

export function addStatus(program: Command): void {
  const command = program
    .command('status [DEV]')
    .description('show the filters of a device, or all devices that have any')
    .option('--json', 'print JSON')
    .action(status);
  example(command, 'blkfilter status /dev/sdb');
}
