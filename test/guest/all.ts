// SPDX-License-Identifier: MIT
//
// The guest's suite. One process for all files: starting Node takes seconds under emulation.
import './sync.test.js';
import './diff.test.js';
import './cli.test.js';
import './example.test.js';
import './map.test.js';
import './documents.test.js';
import './install.test.js';
import './boot.test.js';
import './kernel.js';
