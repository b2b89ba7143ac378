#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// The command. What it can do is loaded only where it can work: an old Node does not even load it.
import { unsupported } from '../supported.js';

const reason = unsupported();
if (reason === undefined) {
  await import('./main.js');
} else {
  process.stderr.write(`error: ${reason}\n`);
  process.exitCode = 1;
}
