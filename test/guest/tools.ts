// SPDX-License-Identifier: MIT
//
// Of the guest's suite, the commands, and what the documents tell: it depends little on the kernel that it runs on.
// (One process for all files: starting Node takes seconds under emulation.)
import './sync.test.js';
import './several.test.js';
import './diff.test.js';
import './cli.test.js';
import './example.test.js';
import './map.test.js';
import './documents.test.js';
import './install.test.js';
import './boot.test.js';
import './doctor.test.js';
