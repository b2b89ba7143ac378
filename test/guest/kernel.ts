// SPDX-License-Identifier: MIT
//
// Of the guest's suite, what else depends on the kernel that it runs on: the modules' calls and memory, the filters, what comes
// and goes, races.
import './errno.test.js';
import './sparse.test.js';
import './guard.test.js';
import './blocker.test.js';
import './trace.test.js';
import './together.test.js';
import './devices.test.js';
import './content.test.js';
import './rules.test.js';
import './watch.test.js';
import './lifecycle.test.js';
import './owner.test.js';
import './stray.test.js';
import './waits.test.js';
import './faults.test.js';
import './requests.test.js';
import './races.test.js';
