// SPDX-License-Identifier: MIT
// What applies the configuration at each start of the machine: a unit of systemd, and for the disk with the root file
// system, which is mounted before that, a hook of initramfs-tools.
import { existsSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { defaultPath } from './config.js';
import { needRoot } from './install.js';
import { known } from './modules.js';
import { packageRoot } from './package.js';
import { lateReasons, shellWord, unitWord } from './start.js';
import { moduleTool } from './tools.js';

const unitPath = '/etc/systemd/system/blkfilter.service';
const wantedPath = '/etc/systemd/system/sysinit.target.wants/blkfilter.service';
const hookPath = '/etc/initramfs-tools/hooks/blkfilter';
const scriptPath = '/etc/initramfs-tools/scripts/init-top/blkfilter';

const command = [process.execPath, join(packageRoot, 'dist/cli/blkfilter.js')];
const made = '# Made by `blkfilter config enable`.';

/** Before any file system but the root is checked or mounted. */
const unit = `${made}
[Unit]
Description=Filters of block devices
Documentation=man:blkfilter(8)
DefaultDependencies=no
ConditionPathExists=${defaultPath}
Wants=local-fs-pre.target
After=systemd-modules-load.service systemd-udev-trigger.service
Before=local-fs-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=:${command.map(unitWord).join(' ')} config apply --wait 30

[Install]
WantedBy=sysinit.target
`;

/** Puts the modules and the rules into the initramfs. There is no Node in it: the rules are the kernel's to apply. */
const hook = `#!/bin/sh
${made}
[ "$1" = prereqs ] && exit 0
[ -e ${defaultPath} ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules ${known.map(({ name }) => name).join(' ')}
mkdir -p "$DESTDIR/etc/blkfilter"
${command.map(shellWord).join(' ')} config rules >"$DESTDIR/etc/blkfilter/rules"
`;

/** Adds the rules before udev loads the drivers of disks. */
const script = `#!/bin/sh
${made}
[ "$1" = prereqs ] && exit 0
while read -r filter patterns; do
	modprobe "blkfilter_$filter"
	echo "add $filter $patterns" >/sys/module/blkfilter/parameters/rules
done </etc/blkfilter/rules
`;

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  if (text.startsWith('#!')) await chmod(path, 0o755);
}

/** Renews the image that the next start begins with, where the system has one that knows of hooks. */
async function renewInitramfs(): Promise<void> {
  if (existsSync('/usr/sbin/update-initramfs')) await moduleTool('renew the initramfs', 'update-initramfs', '-u');
}

/**
 * Has the configuration applied at each start: for all disks, before their file systems are mounted; its rules for the
 * disk of the root file system too, where the initramfs is made by initramfs-tools.
 * @returns why it may fail at the next start, in words: what is needed then lies where it is not there yet. Most often nothing
 * @throws {BlkfilterError} `EACCES` not root; `EMODULE` the initramfs cannot be made
 */
export async function enable(): Promise<string[]> {
  needRoot();
  await write(unitPath, unit);
  await moduleTool('enable the unit', 'systemctl', 'enable', 'blkfilter.service');
  if (existsSync('/usr/share/initramfs-tools/hook-functions')) {
    await write(hookPath, hook);
    await write(scriptPath, script);
  }
  await renewInitramfs();
  return lateReasons(command);
}

/**
 * Undoes {@link enable}. The configuration stays where it is.
 * @throws {BlkfilterError} as of {@link enable}
 */
export async function disable(): Promise<void> {
  needRoot();
  for (const path of [wantedPath, unitPath, hookPath, scriptPath]) await rm(path, { force: true });
  await renewInitramfs();
}
