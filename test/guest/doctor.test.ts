// SPDX-License-Identifier: MIT
//
// What doctor finds wrong: each is provoked, and what it advises is typed, to success. (Who else redirects what the core
// hooks: owner.test.ts.) At the end modules need a signature, which only a restart can undo: the last file of its suite.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { before, describe, it } from 'node:test';

import { doctor, modules } from 'blkfilter';

import { hurried, MODULES, precompiled, unbuildable, unloadModules } from './support/modules.js';
import { attempt, run, sh } from './support/run.js';

type Check = Awaited<ReturnType<typeof doctor>>['checks'][number];

const folder = `/lib/modules/${release()}`;
const config = `/boot/config-${release()}`;

const named = (name: string, checks: Check[]): Check => {
  const check = checks.find((check) => check.name === name);
  assert.ok(check, name);
  return check;
};

/** What doctor says of one thing. */
const checked = async (name: string): Promise<Check> => named(name, (await doctor()).checks);

/** The same, asked by the command, with something before that. */
function asked(name: string, ...prefix: string[]): Check {
  const { stdout } = attempt('env', ...prefix, 'blkfilter', 'doctor', '--json');
  return named(name, (JSON.parse(stdout) as { checks: Check[] }).checks);
}

/** That something is wrong; gives what to type. */
function wrong({ name, ok, detail, hint }: Check, what: RegExp): string[] {
  assert.equal(ok, false, `${name}: ${detail}`);
  assert.match(detail, what);
  return Array.from((hint ?? '').matchAll(/`([^`]+)`/g), ([, command = '']) => command);
}

function right({ name, ok, detail, hint }: Check): void {
  assert.deepEqual([ok, hint], [true, null], `${name}: ${detail}`);
}

/** That something is wrong, and that it is not any more when what is advised was typed. */
async function mended(name: string, what: RegExp): Promise<void> {
  const commands = wrong(await checked(name), what);
  assert.notDeepEqual(commands, []);
  commands.forEach(sh);
  right(await checked(name));
}

/** There is no network here, so that what a package has is brought back by this apt-get. */
async function offered(packages: string, bring: string, body: () => Promise<void>): Promise<void> {
  writeFileSync('/run/apt-get', `#!/bin/sh -eu\n[ "$*" = 'install ${packages}' ]\n${bring}\n`, { mode: 0o755 });
  sh('mount --bind /run/apt-get /usr/bin/apt-get');
  try {
    await body();
  } finally {
    sh('umount /usr/bin/apt-get');
  }
}

describe('doctor', { skip: unbuildable }, () => {
  let headers: string;

  before(() => {
    unloadModules();
    headers = run('readlink', '-f', `${folder}/build`).trim();
    sh(`mount -t tmpfs tmpfs ${folder}; ln -s ${headers} ${folder}/build; rm -f kernel/*/*.ko`);
  });

  it('knows who is not root', () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    wrong(asked('privilege', ...nobody), /^user 65534, lacks CAP_SYS_ADMIN$/);
    right(asked('privilege'));
  });

  it('knows an addon that cannot be loaded', { skip: hurried }, () => {
    sh('mount -t tmpfs tmpfs build');
    try {
      // The second is for a package in a project.
      const [command = ''] = wrong(asked('addon'), /: there is no native addon /);
      sh(command);
      right(asked('addon'));
    } finally {
      sh('umount build');
    }
  });

  it('knows kernels without what the core needs', async () => {
    sh('mkdir -p /boot');
    sh(`grep -v CONFIG_DYNAMIC_FTRACE= ${headers}/.config >${config}; echo CONFIG_PREEMPT_RT=y >>${config}`);
    wrong(await checked('ftrace-config'), /^lacks CONFIG_DYNAMIC_FTRACE$/);
    wrong(await checked('kernel'), /with PREEMPT_RT$/);
    // That of this kernel, of a distribution.
    rmSync(config);
    right(await checked('ftrace-config'));
    right(await checked('kernel'));
  });

  it('knows ftrace that is switched off', async () => {
    sh('sysctl --quiet kernel.ftrace_enabled=0');
    await mended('ftrace-enabled', /is 0$/);
  });

  it('knows headers that are missing, or of another kernel', async () => {
    const link = `rm -f ${folder}/build; ln -s ${headers} ${folder}/build`;
    await offered(`linux-headers-${release()}`, link, async () => {
      rmSync(`${folder}/build`);
      await mended('headers', /^no \/lib\/modules\/.*\/build$/);

      sh(`rm ${folder}/build; mkdir -p /run/other/include/generated; ln -s /run/other ${folder}/build`);
      writeFileSync('/run/other/include/generated/utsrelease.h', '#define UTS_RELEASE "6.1.0-1-amd64"\n');
      await mended('headers', /is of 6\.1\.0-1-amd64, this kernel is /);
    });
  });

  it('knows a compiler that is missing, or not that of the kernel', async () => {
    await offered('make gcc-12', 'umount /usr/bin/make', async () => {
      sh('mount --bind /dev/null /usr/bin/make');
      await mended('compiler', /^no make$/);
    });
    const gcc = run('readlink', '-f', '/usr/bin/gcc-12').trim();
    await offered('gcc-12', `umount ${gcc}`, async () => {
      sh(`mount --bind /bin/false ${gcc}`);
      await mended('compiler', /^no gcc-12$/);

      writeFileSync('/run/gcc', '#!/bin/sh\necho "gcc-12 (Debian 11.2.0-1) 11.2.0"\n', { mode: 0o755 });
      sh(`mount --bind /run/gcc ${gcc}`);
      await mended('compiler', /^gcc-12 .* 11\.2\.0; the kernel was built by gcc-12 .* 12\./);
    });
  });

  it('knows modules that are neither built nor loaded', async () => {
    precompiled();
    sh('rm -f kernel/*/*.ko');
    for (const command of wrong(await checked('blkfilter'), /^neither loaded, installed nor built$/)) sh(command);
    for (const name of MODULES) wrong(await checked(name), /^not loaded; built$/);
    await mended('blkfilter', /^not loaded; built$/);
    for (const name of MODULES) right(await checked(name));
    assert.equal((await doctor()).ok, true);
  });

  it('knows modules of another version', async () => {
    unloadModules();
    // As if it were older than what it is made from.
    sh('LC_ALL=C sed -i "s/\\x00version=0.1.0/\\x00version=0.0.1/" kernel/core/blkfilter.ko; touch -d @0 kernel/core/blkfilter.ko');
    await modules.load();
    await mended('blkfilter', /^loaded, version 0\.0\.1; this package is 0\.1\.0$/);
  });

  it('knows modules that need a signature', async () => {
    unloadModules();
    for (const name of ['lockdown', 'signatures']) right(await checked(name));
    sh('echo Y >/sys/module/module/parameters/sig_enforce; echo integrity >/sys/kernel/security/lockdown');
    const unsigned = new RegExp(`not signed: ${MODULES.join(', ')}$`);
    wrong(await checked('lockdown'), unsigned);
    const commands = wrong(await checked('signatures'), unsigned);
    await assert.rejects(modules.load(), { code: 'EMODULE', hint: /`blkfilter doctor` says how/ });

    // This machine has no firmware that would ask at its next start whether the key is to be trusted.
    const typed = commands.filter((command) => !command.startsWith('mokutil '));
    assert.equal(typed.length, commands.length - 1);
    sh(`cd ${mkdtempSync('/run/key-')}; ${typed.join(' 2>&1; ')}`);
    for (const name of ['lockdown', 'signatures']) {
      const check = await checked(name);
      right(check);
      assert.match(check.detail, /; the modules are signed by blkfilter$/);
    }
    await assert.rejects(modules.load(), { code: 'EMODULE', message: /Key was rejected/, hint: /`blkfilter doctor` says how/ });
  });
});
