// SPDX-License-Identifier: MIT
//
// The guest's suite. One process for all files: starting Node takes seconds under emulation.
import './oracle.test.js';
import './paths.test.js';
import './cbt.test.js';
import './errno.test.js';
import './drain.test.js';
import './replica.test.js';
import './sparse.test.js';
import './sync.test.js';
import './diff.test.js';
import './stacking.test.js';
import './guard.test.js';
import './trace.test.js';
import './together.test.js';
import './devices.test.js';
import './rules.test.js';
import './watch.test.js';
import './lifecycle.test.js';
import './owner.test.js';
import './cli.test.js';
import './example.test.js';
import './map.test.js';
import './readme.test.js';
import './install.test.js';
import './boot.test.js';
import './faults.test.js';
import './races.test.js';
