// SPDX-License-Identifier: MIT
// The kernel modules, put where each start of this machine finds and loads them.
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';

import { BlkfilterError } from './errors.js';
import { build, isSupported, known, status, unload, type ModuleStatus } from './modules.js';
import { packageRoot, packageVersion } from './package.js';
import { findTool, moduleTool, output } from './tools.js';

const kernels = '/lib/modules';
const dkmsTree = '/usr/src';
const loadedAtBoot = '/etc/modules-load.d/blkfilter.conf';

/** Where the modules of a kernel are put without DKMS. What is in updates/ goes before the kernel's own. */
const folderOf = (kernel: string): string => join(kernels, kernel, 'updates/blkfilter');

/** What is in a folder that not every machine has, such as a container. */
const entries = async (folder: string): Promise<string[]> => (existsSync(folder) ? readdir(folder) : []);

const index = (kernel: string): Promise<void> => moduleTool('index the modules', 'depmod', kernel);

/**
 * What is installed is installed by root.
 * @throws {BlkfilterError} `EACCES`
 */
export function needRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new BlkfilterError({ code: 'EACCES', reason: 'only root may install that', hint: 'run it as root' });
}

/** What DKMS has to know, see dkms(8). */
function dkmsConf(): string {
  const lines = [
    '# Made by `blkfilter module install`.',
    'PACKAGE_NAME="blkfilter"',
    `PACKAGE_VERSION="${packageVersion}"`,
    'MAKE[0]="make KDIR=$kernel_source_dir"',
    'CLEAN="make KDIR=$kernel_source_dir clean"',
    'AUTOINSTALL="yes"',
    ...known.flatMap(({ name, file }, index) => [
      `BUILT_MODULE_NAME[${index}]="${name}"`,
      `BUILT_MODULE_LOCATION[${index}]="${dirname(file)}"`,
      `DEST_MODULE_LOCATION[${index}]="/updates"`,
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Whether it is a folder or a source, rather than what a build left. */
const isSource = (path: string): boolean =>
  !basename(path).includes('.') || (/\.[ch]$/.test(path) && !path.endsWith('.mod.c'));

const dkmsInstall = (kernel: string): Promise<void> =>
  moduleTool(`install the modules for kernel ${kernel}`, 'dkms', 'install', `blkfilter/${packageVersion}`, '-k', kernel);

async function installWithDkms(): Promise<void> {
  const tree = join(dkmsTree, `blkfilter-${packageVersion}`);
  await cp(join(packageRoot, 'kernel'), tree, { recursive: true, filter: isSource });
  await writeFile(join(tree, 'dkms.conf'), dkmsConf());
  await removeFromKernel(release());
  await dkmsInstall(release());
}

/** For the other kernels, one of which may be the next to start: DKMS itself comes only to those that are installed later. */
async function installForOthers(): Promise<void> {
  for (const kernel of await entries(kernels)) {
    if (kernel === release() || !isSupported(kernel) || !existsSync(join(kernels, kernel, 'build'))) continue;
    await removeFromKernel(kernel);
    await dkmsInstall(kernel);
  }
}

async function installForThisKernel(built: string[]): Promise<void> {
  const folder = folderOf(release());
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const path of built) await cp(path, join(folder, basename(path)));
  await index(release());
}

/** The versions that DKMS has: `blkfilter/0.1.0, 6.1.0-53-amd64, x86_64: installed`, or with a comma for the slash. */
async function dkmsVersions(): Promise<Set<string>> {
  const text = (await output('dkms', 'status', 'blkfilter')) ?? '';
  return new Set(Array.from(text.matchAll(/^blkfilter(?:\/|, )([^,:\s]+)/gm), ([, version = '']) => version));
}

async function removeFromDkms(): Promise<void> {
  for (const version of await dkmsVersions()) {
    await moduleTool('remove the modules', 'dkms', 'remove', `blkfilter/${version}`, '--all');
  }
  for (const name of await entries(dkmsTree)) {
    const tree = join(dkmsTree, name);
    if (name.startsWith('blkfilter-') && existsSync(join(tree, 'dkms.conf'))) await rm(tree, { recursive: true });
  }
}

async function removeFromKernel(kernel: string): Promise<void> {
  const folder = folderOf(kernel);
  if (!existsSync(folder)) return;
  await rm(folder, { recursive: true });
  // Others may have theirs beside ours.
  await rmdir(dirname(folder)).catch(() => undefined);
  // Of a kernel that was removed there is nothing else left.
  if (existsSync(join(kernels, kernel, 'modules.dep'))) await index(kernel);
}

async function remove(): Promise<void> {
  await rm(loadedAtBoot, { force: true });
  await removeFromDkms();
  for (const kernel of await entries(kernels)) await removeFromKernel(kernel);
}

/** Builds the modules; gives the files. */
async function buildAll(): Promise<string[]> {
  return (await build()).map(({ name, built }) => {
    if (built !== null) return built;
    throw new BlkfilterError({
      code: 'EMODULE',
      reason: `what was built of ${name} is not for kernel ${release()}`,
      hint: 'compare `uname -r` with what `modinfo` says of it',
      path: join(packageRoot, 'kernel'),
    });
  });
}

/**
 * Installs the modules, so that modprobe finds them and each start loads them: with DKMS where that is installed, for all
 * kernels that there are headers of, and again for each new one; else for the running kernel. An earlier installation is
 * replaced, once it is known that the new one can be built. What is loaded stays as it is.
 * @throws {BlkfilterError} `EMODULE`: with DKMS perhaps for another kernel, when all is done for the running one; `EACCES`
 *   not root
 */
export async function install(): Promise<ModuleStatus[]> {
  needRoot();
  const built = await buildAll();
  const dkms = (await findTool('dkms')) !== undefined;
  await removeFromDkms();
  try {
    await (dkms ? installWithDkms() : installForThisKernel(built));
    await mkdir(dirname(loadedAtBoot), { recursive: true });
    await writeFile(loadedAtBoot, `# Made by \`blkfilter module install\`.\n${known.map(({ name }) => `${name}\n`).join('')}`);
  } catch (error) {
    await remove();
    throw error;
  }
  if (dkms) await installForOthers();
  return status();
}

/**
 * Unloads the modules, and removes all that {@link install} has put anywhere.
 * @throws {BlkfilterError} `EMODULE`, such as while a filter is attached: nothing is removed then; `EACCES` not root
 */
export async function uninstall(): Promise<ModuleStatus[]> {
  needRoot();
  await unload();
  await remove();
  return status();
}
