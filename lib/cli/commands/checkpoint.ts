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

interface CheckpointFlags extends OutputOptions {
  freeze?: true;
}

/** What was frozen, in words. */
const frozenLines = ({ frozen, notFrozen }: Frozen): string[] => [
  frozen.length ? `frozen meanwhile: ${frozen.join(', ')}` : 'no file system was frozen',
  ...notFrozenLines(notFrozen),
];

/** Which epoch begins, and what to do with that. */
const epochLines = ({ device, generation, epoch }: Pick<DeviceCheckpoint, 'device' | 'generation' | 'epoch'>): string[] => [
  `epoch ${epoch} of generation ${generation} begins`,
  `read what changes from now on with: blkfilter changes ${device} --since ${epoch} --generation ${generation}`,
];

async function one(device: BlockDevice, { freeze, ...options }: CheckpointFlags): Promise<void> {
  const tracker = await device.filter('cbt');
  const done = await tracker.checkpoint(freeze ? { freeze } : {});
  const document = { device: device.path, ...done };
  await answer(options, document, () => {
    const { missingMembers, ...frozen } = done as FrozenCheckpoint;
    return [...epochLines(document), ...(freeze ? [...missingLines(missingMembers), ...frozenLines(frozen)] : [])].join('\n');
  });
}

async function several(devices: BlockDevice[], { freeze = false, ...options }: { freeze?: boolean } & OutputOptions): Promise<void> {
  const done = await checkpoint(devices, { freeze });
  await answer(options, done, () => {
    const begun = done.checkpoints.flatMap((each) => [`${each.device}:`, ...epochLines(each), ...missingLines(each.missingMembers)]);
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
    .option('--json', 'print JSON')
    .action(run);
  example(command, 'blkfilter checkpoint /dev/sdb --freeze --json');
}
