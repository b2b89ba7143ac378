// SPDX-License-Identifier: MIT
// The command line, as far as it touches no device. What it does to devices is tested in the virtual machine.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { typed } from '#lib/cli/commands/attach.js';

import { MODULES } from '../guest/support/modules.js';

const root = dirname(fileURLToPath(import.meta.resolve('blkfilter/package.json')));
const main = join(root, 'dist/cli/main.js');

interface ErrorDocument {
  error: Record<'code' | 'syscall' | 'path' | 'message' | 'hint', string | null>;
}

function blkfilter(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

function failsAsJson(...args: string[]): ErrorDocument['error'] & { status: number | null } {
  const { status, stdout, stderr } = blkfilter(...args, '--json');
  assert.equal(stdout, '');
  const { error } = JSON.parse(stderr) as ErrorDocument;
  assert.deepEqual(Object.keys(error), ['code', 'syscall', 'path', 'message', 'hint']);
  return { ...error, status };
}

describe('errors', () => {
  it('are text on stderr, and exit with 1', () => {
    const { status, stdout, stderr } = blkfilter('attach', '/dev/null', 'cbt');
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /^error: ENOTBLK: not a block device, open '\/dev\/null'\nhint: {2}.*lsblk/);
  });

  it('are JSON with --json', () => {
    const { status, code, syscall, path, message } = failsAsJson('attach', '/dev/null', 'cbt');
    assert.deepEqual(
      { status, code, syscall, path, message },
      {
        status: 1,
        code: 'ENOTBLK',
        syscall: 'open',
        path: '/dev/null',
        message: "ENOTBLK: not a block device, open '/dev/null'",
      },
    );
  });

  it('are told by the status to one who reads nothing', () => {
    const { status } = blkfilter('doctor');
    const unread = spawnSync('sh', ['-c', `{ "$@"; echo $? >&2; } | true`, 'sh', process.execPath, main, 'doctor']);
    assert.equal(unread.stderr.toString(), `${status}\n`);
  });

  for (const args of [
    ['attach', '/no/such', 'cbt'],
    ['detach', '/no/such', 'cbt'],
    ['checkpoint', '/no/such'],
    ['changes', '/no/such', '--since', 'nightly'],
    ['map', '/no/such'],
    ['trace', '/no/such'],
    ['diff', '/no/such', '--since', 'nightly'],
    ['info', '/no/such'],
    ['forget', '/no/such', 'nightly'],
    ['apply', '/no/such', '/tmp/none'],
    ['status', '/no/such'],
  ]) {
    it(`name the missing file: ${args.join(' ')}`, () => {
      const { status, code, path } = failsAsJson(...args);
      assert.deepEqual({ status, code, path }, { status: 1, code: 'ENOENT', path: '/no/such' });
    });
  }
});

describe('stdout', () => {
  const outcome = (command: string) => {
    const { status, stderr } = spawnSync('bash', ['-c', command, process.execPath, main], { encoding: 'utf8' });
    return { status, stderr };
  };

  it('that is full is an error', () => {
    const { status, stderr } = outcome('"$0" "$1" module status --json > /dev/full');
    assert.equal(status, 1);
    assert.equal((JSON.parse(stderr) as ErrorDocument).error.code, 'ENOSPC');
  });

  it('in a file holds all that was streamed to it, or that is an error', () => {
    const folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
    const path = join(folder, 'file');
    const to = (limit: string) => {
      const script = `import { stream } from '#lib/cli/output.js'; await stream([Buffer.alloc(100_000)]);`;
      // A write that meets the limit is cut short, as by a disk that gets full.
      const command = `ulimit -f ${limit}; exec "$0" --input-type=module -e "$1" > "$2"`;
      return spawnSync('bash', ['-c', command, process.execPath, script, path], { encoding: 'utf8', cwd: root });
    };
    assert.match(to('64').stderr, /EFBIG/);
    assert.deepEqual([to('unlimited').status, readFileSync(path).length], [0, 100_000]);
    rmSync(folder, { recursive: true });
  });

  it('that nobody reads is none', () => {
    assert.deepEqual(outcome('set -o pipefail; "$0" "$1" --help | true'), { status: 0, stderr: '' });
    assert.deepEqual(outcome('set -o pipefail; "$0" "$1" module status | true'), { status: 0, stderr: '' });
  });
});

describe('a terminal', () => {
  // Run by script, which has one; what is said comes out of it.
  const atTerminal = (command: string): string =>
    spawnSync('script', ['-qec', `${process.execPath} ${main} ${command}`, '/dev/null'], { encoding: 'utf8' }).stdout;

  it('gets no diff, and gives none', () => {
    assert.match(atTerminal('diff /dev/null --full'), /a diff is nothing for a terminal.*\s+.*--output FILE/);
    assert.match(atTerminal('apply - /tmp/none'), /a terminal gives no diff/);
  });
});

describe('colours', () => {
  // Only PATH: who runs the tests may want no colours, or say in other ways what they want.
  const seen = (command: string): string =>
    spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8', env: { PATH: process.env.PATH, TERM: 'xterm' } }).stdout;
  const failing = `${process.execPath} ${main} attach /dev/null cbt`;

  it('are for terminals, and not where NO_COLOR says so', () => {
    assert.ok(seen(failing).includes('\x1b[31m'));
    for (const command of [`NO_COLOR=1 ${failing}`, `${failing} 2>&1 | cat`]) {
      assert.match(seen(command), /ENOTBLK/);
      assert.ok(!seen(command).includes('\x1b'));
    }
  });
});

describe('what is made from the commands', () => {
  const made = (path: string): string => readFileSync(join(root, 'dist', path), 'utf8');
  const page = made('man/blkfilter.8').replaceAll('\\-', '-');

  it('the manual has each command with its arguments, its options and an example', () => {
    const commands = new Map(Array.from(page.matchAll(/^\.SS (.*)\n([^]*?)(?=^\.S[SH] )/gm), ([, name = '', text = '']) => [name, text]));
    const names = [...commands.keys()];
    assert.ok(names.length > 15);
    for (const name of names) assert.match(commands.get(name) ?? '', /\.EX\n(npx )?blkfilter .*\n\.EE/, name);
    assert.match(commands.get('changes DEV') ?? '', /--since <mark>\n.*must be given.*--range.*blkfilter changes \/dev/s);
    for (const name of names) assert.equal(/^\.B --json$/m.test(commands.get(name) ?? ''), !name.startsWith('completion'), name);
    assert.ok(names.includes('rule add FILTER') && names.includes('status [DEV]'));
  });

  it('help shows the same example', () => {
    assert.match(blkfilter('checkpoint', '--help').stdout, /\nExample:\n {2}blkfilter checkpoint /);
  });

  it('completion knows commands, options, devices, filters and files', () => {
    const script = `
      . "$0"
      lsblk() { printf '/dev/sda\\n/dev/sda1\\n'; }
      sed() { echo cbt; }
      COMP_WORDS=(blkfilter "$@") COMP_CWORD=$#
      _blkfilter
      echo "\${COMPREPLY[*]}"`;
    const completed = (...words: string[]): string => {
      const args = ['-c', script, join(root, 'dist/completions/blkfilter'), ...words];
      return spawnSync('bash', args, { cwd: root, encoding: 'utf8' }).stdout.trim();
    };
    assert.equal(completed('che'), 'checkpoint');
    assert.equal(completed('module', 'un'), 'uninstall unload');
    assert.equal(completed('attach', '/dev/s'), '/dev/sda /dev/sda1');
    assert.equal(completed('attach', '/dev/sda', ''), 'cbt');
    assert.equal(completed('diff', '--output', 'LICENSE', '/dev/sda1'), '/dev/sda1');
    assert.equal(completed('diff', '/dev/sda', '--output', 'README'), 'README.md');
    assert.equal(completed('changes', '/dev/sda', '--since', ''), '');
    assert.equal(completed('checkpoint', '/dev/sda', '/dev/sda1'), '/dev/sda1');
    assert.equal(completed('sync', '--pair', '/dev/sda1'), '/dev/sda1');
    assert.equal(completed('changes', '/dev/sda', '--s'), '--since');
    assert.equal(completed('completion', ''), 'bash zsh');
  });
});

describe('wrong usage exits with 2 and names what is wrong', () => {
  const cases: [string[], RegExp][] = [
    [[], /no command/],
    [['nonsense'], /nonsense/],
    [['atach', '/dev/null', 'cbt'], /Did you mean attach\?/],
    [['detach', '/dev/null', 'cbt', '--jsn'], /Did you mean --json\?/],
    [['attach'], /DEV/i],
    [['attach', '/dev/null'], /FILTER/i],
    [['attach', '/dev/null', 'cbt', 'more'], /argument/],
    [['attach', '/dev/null', 'cbt', '--nonsense'], /--nonsense/],
    [['attach', '/dev/null', 'cbt', '--option'], /--option/],
    [['attach', '/dev/null', 'cbt', '--option', 'blockSize'], /NAME=VALUE/],
    [['changes', '/dev/null'], /--since/],
    [['changes', '/dev/null', '--since', 'last week'], /last week.*a mark/],
    [['changes', '/dev/null', '--since', '-1'], /-1/],
    [['changes', '/dev/null', '--since', '3'], /3 is the number of an epoch/],
    [['changes', '/dev/null', '--since', 'nightly', '--any-generation'], /--any-generation goes with/],
    [['changes', '/dev/null', '--since', '0123456:1'], /0123456:1/],
    [['changes', '/dev/null', '--since', 'nightly', '--range', '5-4'], /5-4/],
    [['map'], /DEV/i],
    [['map', '/dev/null', '--range', '5-4'], /5-4/],
    [['map', '/dev/null', '--columns', '0'], /--columns/],
    [['map', '/dev/null', '--columns', '10000'], /--columns/],
    [['map', '/dev/null', '--columns', 'all'], /--columns/],
    [['map', '/dev/null', '--rows', '-1'], /--rows/],
    [['diff', '/dev/null'], /either --since or --full/],
    [['diff', '/dev/null', '--since', 'nightly', '--full'], /either --since or --full/],
    [['diff', '/dev/null', '--since', 'last week'], /last week/],
    [['diff', '/dev/null', '--since', '3'], /3 is the number of an epoch/],
    [['diff', '/dev/null', '--full', '--any-generation'], /--any-generation goes with --since/],
    [['diff', '/dev/null', '--full', '--name', '1st'], /1st.*begins with a letter/],
    [['checkpoint', '/dev/null', '--name', 'a:b'], /a:b.*begins with a letter/],
    [['diff', '/dev/null', '--full', '--name', 'nightly'], /--name goes with --output/],
    [['apply', '/dev/null'], /TARGET/i],
    [['checkpoint'], /DEV/i],
    [['sync', '/dev/null'], /either SRC and DST, or --pair/],
    [['sync', '/dev/null', '/tmp/none', '--pair', '/dev/null=/tmp/none'], /either SRC and DST, or --pair/],
    [['sync', '--pair', '/dev/null='], /SOURCE=TARGET/],
    [['sync', '--pair', '/dev/null=/tmp/none', '--state', '/tmp/a', '--state', '/tmp/b'], /--state for each pair/],
    [['trace'], /DEV/i],
    [['trace', '/dev/null', '--range', '5-4'], /5-4/],
    [['trace', '/dev/null', '--summary', '0'], /--summary/],
    [['trace', '/dev/null', '--summary', 'often'], /--summary/],
    [['trace', '/dev/null', '--task', 'fio'], /--task/],
    [['guard'], /DEV/i],
    [['guard', '/dev/null', '--deny', 'write:often'], /'often' is no range/],
    [['guard', '/dev/null', '--delay', 'read'], /for how long/],
    [['guard', '/dev/null', '--pass', 'read:EIO'], /'EIO' says how to deny/],
    [['module'], /command/],
    [['module', 'nonsense'], /nonsense/],
    [['module', 'sign', '--key', '/dev/null'], /--cert/],
    [['module', 'sign', '--key', '/no/key', '--cert', '/dev/null'], /sign\.key: there is no such file/],
  ];
  for (const [args, message] of cases) {
    it(`blkfilter ${args.join(' ')}`, () => {
      const text = blkfilter(...args);
      assert.equal(text.status, 2);
      assert.equal(text.stdout, '');
      assert.match(text.stderr, message);
      const json = failsAsJson(...args);
      assert.equal(json.status, 2);
      assert.equal(json.code, 'ERR_BLKFILTER_ARGUMENT');
      // Without a command --json itself is what commander stumbles over.
      if (args.length && args[0] !== 'module') assert.match(json.message ?? '', message);
    });
  }
});

describe('the options of a filter', () => {
  it('are typed as the filter wants them', () => {
    const given = { sector: '5', task: '1', segments: 'true', match: '5', buffer: '1MiB' };
    const wanted = { sector: 5, task: 1, segments: true, match: '5', buffer: '1MiB' };
    assert.deepEqual(typed('trace', given), wanted);
    assert.deepEqual(typed('trace', { segments: 'false' }), { segments: false });
  });

  it('stay as they were typed where it takes none of that', () => {
    for (const options of [{ sector: 'x' }, { nonsense: '1' }]) assert.deepEqual(typed('trace', options), options);
    assert.deepEqual(typed('theirs', { size: '1' }), { size: '1' });
  });
});

describe('answers', () => {
  const document = (...args: string[]): unknown => JSON.parse(blkfilter(...args, '--json').stdout);

  it('status lists the devices that have filters, which may be none', () => {
    const { devices } = document('status') as { devices: { filters: unknown[] }[] };
    for (const { filters } of devices) assert.notEqual(filters.length, 0);
  });

  it('module status lists every module', () => {
    const { modules } = document('module', 'status') as { modules: Record<string, unknown>[] };
    assert.deepEqual(
      modules.map(({ name, loaded }) => ({ name, loaded })),
      MODULES.map((name) => ({ name, loaded: existsSync(`/sys/module/${name}`) })),
    );
  });

  it('doctor says of each thing whether it is well, and exits with 1 when one is not', () => {
    const { status, stdout } = blkfilter('doctor', '--json');
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Record<string, unknown>[] };
    assert.equal(status, ok ? 0 : 1);
    for (const check of checks) {
      assert.deepEqual(Object.keys(check), ['name', 'ok', 'detail', 'hint']);
      assert.equal(check.hint === null, check.ok);
    }
    const named = (name: string): unknown => checks.find((check) => check.name === name)?.ok;
    assert.deepEqual([named('node'), named('platform'), named('addon')], [true, true, true]);
    assert.equal(ok, checks.every((check) => check.ok));
    if (!existsSync('/sys/module/blkfilter')) assert.equal(named('blkfilter'), false);
  });

  it('help and version exit with 0', () => {
    assert.equal(blkfilter('--help').status, 0);
    assert.equal(blkfilter('help', 'changes').status, 0);
    assert.match(blkfilter('--version').stdout, /^\d+\.\d+\.\d+\n$/);
  });
});

describe('without the addon', () => {
  it('says how to build it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'blkfilter-'));
    try {
      cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
      cpSync(join(root, 'package.json'), join(folder, 'package.json'));
      symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
      const args = [join(folder, 'dist/cli/main.js'), 'status', '/dev/null', '--json'];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      const { error } = JSON.parse(stderr) as ErrorDocument;
      assert.equal(status, 1);
      assert.equal(error.code, 'ERR_BLKFILTER_ADDON');
      assert.match(error.hint ?? '', /^build it with `blkfilter build-addon`/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
