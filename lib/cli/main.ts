// SPDX-License-Identifier: MIT
import { Command, CommanderError } from 'commander';

import { BlkfilterError } from '../index.js';
import { packageVersion } from '../package.js';
import { addApply } from './commands/apply.js';
import { addAttach } from './commands/attach.js';
import { addBuildAddon } from './commands/build-addon.js';
import { addChanges } from './commands/changes.js';
import { addCheckpoint } from './commands/checkpoint.js';
import { addCompletion } from './commands/completion.js';
import { addConfig } from './commands/config.js';
import { addDetach } from './commands/detach.js';
import { addDiff } from './commands/diff.js';
import { addDoctor } from './commands/doctor.js';
import { addForget } from './commands/forget.js';
import { addGuard } from './commands/guard.js';
import { addInfo } from './commands/info.js';
import { addManual } from './commands/manual.js';
import { addMap } from './commands/map.js';
import { addModule } from './commands/module.js';
import { addRule } from './commands/rule.js';
import { addStatus } from './commands/status.js';
import { addSync } from './commands/sync.js';
import { addTrace } from './commands/trace.js';
import { addWatch } from './commands/watch.js';
import { complain, exit } from './output.js';

const json = process.argv.includes('--json');

// A reader that has seen enough, such as head, is no failure of its own.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? exit.done);
  complain(error, json);
  process.exit(exit.failed);
});

const program = new Command('blkfilter')
  .description('filter and track the I/O of live block devices')
  .version(packageVersion)
  .exitOverride()
  // Errors go through complain(), for --json. What is written here is the help that was not asked for.
  .configureOutput({ outputError: () => undefined, ...(json && { writeErr: () => undefined }) });

for (const add of [
  addDoctor,
  addModule,
  addStatus,
  addAttach,
  addDetach,
  addRule,
  addConfig,
  addInfo,
  addCheckpoint,
  addForget,
  addChanges,
  addMap,
  addGuard,
  addSync,
  addDiff,
  addApply,
  addTrace,
  addWatch,
  addBuildAddon,
  addCompletion,
  addManual,
]) {
  add(program);
}

/** Commander's errors are all about usage, except that it ends --help and --version with one too. */
function fail(error: unknown): number {
  if (!(error instanceof CommanderError)) {
    complain(error, json);
    return error instanceof BlkfilterError && error.code === 'ERR_BLKFILTER_ARGUMENT' ? exit.usage : exit.failed;
  }
  if (error.exitCode === 0) return exit.done;
  const reason = error.code === 'commander.help' ? 'no command given' : error.message.replace(/^error: /, '');
  complain(
    new BlkfilterError({ code: 'ERR_BLKFILTER_ARGUMENT', reason, hint: '`blkfilter --help` lists the commands' }),
    json,
  );
  return exit.usage;
}

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = fail(error);
}
