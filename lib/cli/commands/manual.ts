// SPDX-License-Identifier: MIT
// The manual page: what the commands say of themselves, and what else one wants to know of the program.
import type { Command, Option } from 'commander';

import { packageVersion } from '../../package.js';
import { exampleOf } from '../example.js';
import { write } from '../output.js';

const description = `
blkfilter attaches filters to block devices that are in use: a disk, a partition, a device-mapper or md device. Nothing is
unmounted, patched or rebooted. A filter sees each request on its way to the device. The filter cbt tracks which blocks
change; diff and sync copy those, and nothing else.

The kernel modules are loaded by \`blkfilter module load\`, once \`blkfilter module build\` or \`blkfilter module install\`
made them. \`blkfilter doctor\` tells what this machine lacks. All but help, doctor and the like needs root.

A device is given by its node, such as /dev/sdb. Sectors have 512 bytes, whatever the device's own blocks are. Sizes are
bytes, or have a unit: 64KiB, 64K and 65536 are the same. A range of sectors is FIRST-LAST, both included, FIRST- for all
from there on, or one number.

With --json a command prints one JSON document on stdout, or one object a line where it says so; an error is
{"error":{"code","syscall","path","message","hint"}} on stderr.
`;

const configuration = `
/etc/blkfilter/config.json says which filters devices get when it is applied: by \`blkfilter config apply\`, or at each start
after \`blkfilter config enable\`. It is an object with two lists, each of which may be missing. "rules" is for disks and
partitions that appear later: each has "filter" and at least one of "name", "partuuid", "serial" and "wwid", which are
patterns of a shell. "devices" is for those that are there: each has "device", a path, "filter", and may have "options".
`;

const configurationExample = `{
  "rules": [{ "filter": "cbt", "wwid": "naa.5000c500*" }],
  "devices": [{ "device": "/dev/disk/by-id/ata-X_123", "filter": "cbt", "options": { "blockSize": "64KiB" } }]
}`;

const files: [name: string, text: string][] = [
  ['/sys/block/*/filter, /sys/class/block/*/filter', 'the filters of a device, one a line, highest altitude first'],
  ['/sys/block/*/filter_bypassed', 'how many requests no filter could see that may have changed data'],
  ['/sys/module/blkfilter/parameters/rules', 'the rules that give filters to devices which appear'],
  ['/etc/blkfilter/config.json', 'see CONFIGURATION'],
  ['/etc/modules-load.d/blkfilter.conf', 'what `blkfilter module install` has the system load'],
];

const statuses: [name: string, text: string][] = [
  ['0', 'done'],
  ['1', 'failed'],
  ['2', 'wrong usage; nothing was changed'],
];

/** Text as roff takes it: a dot or a quote at a line's start would be a request, and a hyphen is not a minus. */
const roff = (text: string): string =>
  text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^(?=[.'])/gm, '\\&').replace(/`([^`]*)`/g, '\\fB$1\\fR');

const tagged = (tag: string, text: string): string => `.TP\n.B ${roff(tag)}\n${roff(text)}`;

const paragraphs = (text: string): string => text.trim().split('\n\n').map(roff).join('\n.PP\n');

/** A command's words, arguments last: `rule add FILTER`. */
function usage(command: Command): string {
  const names = [];
  for (let one = command; one.parent; one = one.parent) names.unshift(one.name());
  const args = command.registeredArguments.map((arg) => {
    const name = arg.variadic ? `${arg.name()}...` : arg.name();
    return arg.required ? name : `[${name}]`;
  });
  return [...names, ...args].join(' ');
}

const option = ({ flags, description, mandatory }: Option): string =>
  tagged(flags, mandatory ? `${description} (must be given)` : description);

function section(command: Command): string {
  const { options } = command;
  const line = exampleOf(command);
  return [
    `.SS ${roff(usage(command))}`,
    roff(`${command.description()}.`),
    ...options.map(option),
    ...(line === undefined ? [] : ['.PP', '.EX', roff(line), '.EE']),
  ].join('\n');
}

/** The commands that do something, in the order in which help lists them. */
const leaves = (command: Command): Command[] =>
  command.commands.length ? command.createHelp().visibleCommands(command).flatMap(leaves) : [command];

/** The manual page of a program, in the language of man(7). */
export function manual(program: Command): string {
  return [
    `.\\" Made by the package's build, from the commands themselves.`,
    `.TH BLKFILTER 8 "" "blkfilter ${packageVersion}" "System Administration"`,
    '.SH NAME',
    `blkfilter \\- ${roff(program.description())}`,
    '.SH SYNOPSIS',
    '.B blkfilter\n.I COMMAND\n[\\fIARGUMENT\\fR]... [\\fIOPTION\\fR]...',
    '.SH DESCRIPTION',
    paragraphs(description),
    '.SH COMMANDS',
    ...leaves(program).filter((command) => command.name() !== 'help').map(section),
    '.SH CONFIGURATION',
    paragraphs(configuration),
    `.PP\n.EX\n${roff(configurationExample)}\n.EE`,
    '.SH EXIT STATUS',
    ...statuses.map(([tag, text]) => tagged(tag, text)),
    '.SH ENVIRONMENT',
    tagged('NO_COLOR', 'no colours, even on a terminal'),
    '.SH FILES',
    ...files.map(([tag, text]) => tagged(tag, text)),
    '.SH SEE ALSO',
    '.BR lsblk (8),\n.BR dmsetup (8),\n.BR dkms (8),\n.BR mokutil (1)',
    '',
  ].join('\n');
}

export function addManual(program: Command): void {
  program
    .command('manual', { hidden: true })
    .description('print the source of the manual page')
    .action(async () => write(manual(program)));
}
