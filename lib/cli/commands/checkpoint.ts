// SPDX-License-Identifier: MIT
import type { Command } from 'commander';

import {
  checkpoint,
  open,
  type BlockDevice,
  type DeviceCheckpoint,
  type Frozen,
  type FrozenCheckpoint,
} from '../../index.js';
import { example } from '../example.js';
import { missingLines, notFrozenLines } from '../moment.js';
import { answer, type OutputOptions } from '../output.js';
import { parseName } from '../since.js';

interface CheckpointFlags extends OutputOptions {
  freeze?: true;
  name?: string;
}

/** What was frozen, in words. */
const frozenLines = ({ frozen, notFrozen }: Frozen): string[] => [
  frozen.length ? `frozen meanwhile: ${frozen.join(', ')}` : 'no file system was frozen',
  ...notFrozenLines(notFrozen),
];

/** The mark, and what to do with it. */
const markLines = ({ device, mark }: Pick<DeviceCheckpoint, 'device' | 'mark'>, name?: string): string[] => [
  mark,
  `read what changes from now on with: blkfilter changes ${device} --since ${name ?? mark}`,
];

async function one(device: BlockDevice, { freeze, name, ...options }: CheckpointFlags): Promise<void> {
  const tracker = await device.filter('cbt');
  const done = await tracker.checkpoint({ ...(freeze && { freeze }), ...(name !== undefined && { name }) });
  const document = { device: device.path, ...done };
  await answer(options, document, () => {
    const { missingMembers, ...frozen } = done as FrozenCheckpoint;
    return [...markLines(document, name), ...(freeze ? [...missingLines(missingMembers), ...frozenLines(frozen)] : [])].join('\n');
  });
}

async function several(devices: BlockDevice[], { freeze = false, name, ...options }: { freeze?: boolean; name?: string } & OutputOptions): Promise<void> {
  const done = await checkpoint(devices, { freeze, ...(name !== undefined && { name }) });
  await answer(options, done, () => {
    const begun = done.checkpoints.flatMap((each) => [`${each.device}:`, ...markLines(each, name), ...missingLines(each.missingMembers)]);
    return [...begun, ...(freeze ? frozenLines(done) : [])].join('\n');
  });
}

async function run(paths: string[], flags: CheckpointFlags): Promise<void> {
  const devices: BlockDevice[] = [];
  try {
    for (const path of paths) devices.push(await open(path));
    const [first] = devices;
    await (first && devices.length === 1 ? one(first, flags) : several(devices, flags));
  } finally {
    for (const device of devices) await device.close();
  }
}

export function addCheckpoint(program: Command): void {
  const command = program
    .command('checkpoint DEV...')
    .description('end the current epoch of change tracking and start the next, of one device or of several')
    .option('--freeze', 'freeze the file systems on all of them meanwhile, and say which')
    .option('--name <name>', 'give it a name, which an earlier one that has it loses', parseName)
    .option('--json', 'print JSON')
    .action(run);
  example(command, 'blkfilter checkpoint /dev/sdb --freeze --json');
}
