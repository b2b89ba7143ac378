// SPDX-License-Identifier: MIT
// What this machine lacks, before it fails somewhere else.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

import { BlkfilterError } from './errors.js';
import * as modules from './modules.js';
import { native } from './native.js';
import { packageVersion } from './package.js';
import { readIfThere } from './sysfs.js';
import { findTool, output } from './tools.js';

/** One thing that was looked at. */
export interface Check {
  name: string;
  ok: boolean;
  /** What is the case. Says "unknown" where it could not be found out; that alone is not a failure. */
  detail: string;
  /** What to do; null when nothing is wrong. */
  hint: string | null;
}

const CAP_SYS_ADMIN = 21n;

const found = (name: string, detail: string): Check => ({ name, ok: true, detail, hint: null });
const wrong = (name: string, detail: string, hint: string): Check => ({ name, ok: false, detail, hint });

// On another platform or an older Node nothing of the package works, see supported.ts.
const node = (): Check => found('node', process.version);
const platform = (): Check => found('platform', `${process.platform} ${process.arch}`);

function addon(): Check {
  try {
    native();
    return found('addon', 'loads');
  } catch (error) {
    const { message, hint } = error as BlkfilterError;
    return wrong('addon', message, hint ?? 'build it');
  }
}

async function privilege(): Promise<Check> {
  const effective = /^CapEff:\s*([\da-f]+)/m.exec((await readIfThere('/proc/self/status')) ?? '')?.[1];
  const detail = `user ${process.geteuid?.() ?? 'unknown'}`;
  return effective !== undefined && (BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n
    ? found('privilege', `${detail}, has CAP_SYS_ADMIN`)
    : wrong('privilege', `${detail}, lacks CAP_SYS_ADMIN`, 'run it as root');
}

/** @internal Whether the core loads on a kernel like this, see kernel/core/main.c. */
export function kernel(release: string, config: string | undefined): Check {
  if (!modules.isSupported(release)) return wrong('kernel', release, 'boot Linux 6.1 or newer');
  return /^CONFIG_PREEMPT_RT=y$/m.test(config ?? '')
    ? wrong('kernel', `${release}, with PREEMPT_RT`, 'boot a kernel without it: the modules refuse to load on this one')
    : found('kernel', release);
}

async function kernelConfig(): Promise<string | undefined> {
  const packed = await readFile('/proc/config.gz').catch(() => undefined);
  if (packed) return (await promisify(gunzip)(packed)).toString();
  return readFile(`/boot/config-${release()}`, 'utf8').catch(() =>
    readFile(`/lib/modules/${release()}/build/.config`, 'utf8').catch(() => undefined),
  );
}

function ftraceConfig(config: string | undefined): Check {
  if (config === undefined) return found('ftrace-config', 'unknown: no readable configuration of this kernel');
  const has = (option: string): boolean => new RegExp(`^CONFIG_${option}=y$`, 'm').test(config);
  const lacks = ['MODULES', 'DYNAMIC_FTRACE', 'KALLSYMS'].filter((option) => !has(option));
  if (!has('DYNAMIC_FTRACE_WITH_ARGS') && !has('DYNAMIC_FTRACE_WITH_REGS')) lacks.push('DYNAMIC_FTRACE_WITH_ARGS');
  return lacks.length
    ? wrong('ftrace-config', `lacks ${lacks.map((o) => `CONFIG_${o}`).join(', ')}`, 'boot a kernel of your distribution')
    : found('ftrace-config', 'has what the hooks need');
}

async function ftraceEnabled(): Promise<Check> {
  const value = (await readIfThere('/proc/sys/kernel/ftrace_enabled'))?.trim();
  if (value === undefined) return found('ftrace-enabled', 'unknown: no such sysctl');
  return value === '1'
    ? found('ftrace-enabled', 'kernel.ftrace_enabled is 1')
    : wrong('ftrace-enabled', `kernel.ftrace_enabled is ${value}`, 'run `sysctl kernel.ftrace_enabled=1`');
}

/** What the core redirects (kernel/core/hook.c), which only one may do with a function at a time. */
const redirected = ['blkdev_ioctl', 'compat_blkdev_ioctl', 'bdev_disk_changed', 'del_gendisk', 'blk_mark_disk_dead', 'submit_bio_noacct'];

/** ftrace lists its functions with flags, of which I means redirected, and whose callback it is. */
async function hooks(): Promise<Check> {
  const unreadable = (): undefined => undefined;
  const text =
    (await readIfThere('/sys/kernel/tracing/enabled_functions').catch(unreadable)) ??
    (await readIfThere('/sys/kernel/debug/tracing/enabled_functions').catch(unreadable));
  if (text === undefined) return found('hooks', 'unknown: only root can read who redirects kernel functions');
  const taken = text
    .split('\n')
    .filter((line) => redirected.includes(line.split(' ')[0] ?? '') && / I\b/.test(line) && !line.includes('[blkfilter]'));
  return taken.length
    ? wrong(
        'hooks',
        `redirected by others: ${taken.map((line) => line.replace(/\s+/g, ' ')).join('; ')}`,
        'unload the live patch or the module that does it, load blkfilter, and load that again if it bears company',
      )
    : found('hooks', 'nobody else redirects what the core hooks');
}

/** What the core has found of this kernel when it was loaded (kernel/core/symbols.c, selftest.c); it is in the kernel's log. */
async function selfTest([core]: modules.ModuleStatus[]): Promise<Check> {
  if (core?.loaded) return found('self-test', 'the hooks fire on this kernel');
  const refusals = ((await output('dmesg')) ?? '').matchAll(/blkfilter: ((?:self-test failed|this kernel).*)/g);
  const [, last] = [...refusals].at(-1) ?? [];
  return last === undefined
    ? found('self-test', 'unknown: it is made when blkfilter is loaded')
    : wrong('self-test', last, 'boot a kernel that the README names, and report this with the output of `blkfilter doctor --json`');
}

/** How to come by modules that the machine loads although it wants signed ones. */
const signing = [
  'sign the modules with a key that this machine trusts. To make one and have it trusted:',
  '`openssl req -new -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=blkfilter/ -outform DER -keyout mok.key -out mok.der`,',
  '`mokutil --import mok.der`, restart and confirm it at the console.',
  'Then `blkfilter module sign --key mok.key --cert mok.der`; DKMS signs by itself, and its key is /var/lib/dkms/mok.pub',
].join('\n');

/** Where modules have to be signed: whether ours are. That the machine trusts the key shows when they are loaded. */
function signed(name: string, detail: string, status: modules.ModuleStatus[]): Check {
  const missing = status.filter(({ loaded, signer }) => !loaded && signer === null);
  if (missing.length) return wrong(name, `${detail}; not signed: ${missing.map(({ name }) => name).join(', ')}`, signing);
  const signers = new Set(status.map(({ signer }) => signer).filter((signer) => signer !== null));
  return found(name, `${detail}; ${signers.size ? `the modules are signed by ${[...signers].join(', ')}` : 'the modules are loaded'}`);
}

async function signatures(status: modules.ModuleStatus[]): Promise<Check> {
  const enforced = (await readIfThere('/sys/module/module/parameters/sig_enforce'))?.trim();
  if (enforced === undefined) return found('signatures', 'unknown: no such parameter');
  return enforced === 'N'
    ? found('signatures', 'modules need none')
    : signed('signatures', 'the kernel loads signed modules only', status);
}

async function lockdown(status: modules.ModuleStatus[]): Promise<Check> {
  const text = await readIfThere('/sys/kernel/security/lockdown').catch(() => undefined);
  const mode = /\[(\w+)\]/.exec(text ?? '')?.[1];
  if (mode === undefined) {
    const mounted = existsSync('/sys/kernel/security/lsm');
    return found('lockdown', mounted ? 'not in this kernel' : 'unknown: no securityfs on /sys/kernel/security');
  }
  return mode === 'none' ? found('lockdown', 'none') : signed('lockdown', mode, status);
}

async function headers(): Promise<Check> {
  const folder = modules.kernelBuildFolder();
  const install = `install them: \`apt-get install linux-headers-${release()}\``;
  if (!existsSync(folder)) return wrong('headers', `no ${folder}`, install);
  const header = await readIfThere(`${folder}/include/generated/utsrelease.h`);
  const [, of] = /UTS_RELEASE "(.*)"/.exec(header ?? '') ?? [];
  if (of === release()) return found('headers', folder);
  return wrong('headers', `${folder} is of ${of ?? 'no configured kernel'}, this kernel is ${release()}`, install);
}

/** Modules are to be built by the compiler that built the kernel: `CONFIG_CC_VERSION_TEXT="gcc-12 (Debian…) 12.2.0"`. */
async function compiler(config: string | undefined): Promise<Check> {
  const [, of] = /^CONFIG_CC_VERSION_TEXT="(.*)"$/m.exec(config ?? '') ?? [];
  const name = of === undefined ? 'gcc' : /\bclang\b/.test(of) ? 'clang' : (of.split(' ')[0] ?? 'gcc');
  const major = (text: string): string | undefined => /(\d+)\.\d+\.\d+/.exec(text)?.[1];
  // However a distribution names the command: x86_64-linux-gnu-gcc-13 is of gcc-13, too.
  const its = of === undefined ? name : `${name === 'clang' ? 'clang' : 'gcc'}-${major(of)}`;
  const install = (packages: string): string => `install what lacks: \`apt-get install ${packages}\``;
  if (!(await findTool('make'))) return wrong('compiler', 'no make', install(`make ${its}`));
  const [version] = (await output(name, '--version'))?.split('\n') ?? [];
  if (version === undefined) return wrong('compiler', `no ${name}`, install(its));
  if (of === undefined || of === version) return found('compiler', version);
  const detail = `${version}; the kernel was built by ${of}`;
  return major(of) === major(version) ? found('compiler', detail) : wrong('compiler', detail, install(its));
}

/** What a build needs is missed only where a build is needed. */
const onlyIf = (needed: boolean, { name, ok, detail, hint }: Check): Check =>
  needed || ok ? { name, ok, detail, hint } : found(name, `${detail}; not needed, the modules are there`);

/** @internal What modprobe finds goes before what was built, so it has to be replaced where it lies. */
export function moduleCheck({ name, loaded, version, installed, built, fileVersion }: modules.ModuleStatus): Check {
  const other = (found: string | null): found is string => found !== null && found !== packageVersion;
  const is = installed ? 'installed' : 'built';
  const renew = `\`blkfilter module ${installed ? 'install' : 'build'}\``;
  if (loaded && other(version)) {
    const hint = `${renew}, then \`blkfilter module unload\` and \`blkfilter module load\``;
    return wrong(name, `loaded, version ${version}; this package is ${packageVersion}`, hint);
  }
  if ((installed || built !== null) && other(fileVersion)) {
    const state = `${loaded ? 'loaded' : 'not loaded'}; ${is}, version ${fileVersion}; this package is ${packageVersion}`;
    return wrong(name, state, `${renew}, or the other version is loaded next time`);
  }
  if (loaded) return found(name, `loaded, version ${version ?? 'unknown'}`);
  return installed || built !== null
    ? wrong(name, `not loaded; ${is}`, 'load it with `blkfilter module load`')
    : wrong(name, 'neither loaded, installed nor built', 'build it with `blkfilter module build`');
}

/** Looks at everything that the package needs of the machine. Changes nothing. */
export async function doctor(): Promise<{ ok: boolean; checks: Check[] }> {
  const status = await modules.status();
  const config = await kernelConfig();
  const needed = status.some(({ loaded, installed, built }) => !loaded && !installed && built === null);
  const checks = [
    node(),
    platform(),
    addon(),
    await privilege(),
    kernel(release(), config),
    ftraceConfig(config),
    await ftraceEnabled(),
    await hooks(),
    await selfTest(status),
    await lockdown(status),
    await signatures(status),
    onlyIf(needed, await headers()),
    onlyIf(needed, await compiler(config)),
    ...status.map(moduleCheck),
  ];
  return { ok: checks.every(({ ok }) => ok), checks };
}
