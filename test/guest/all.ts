// SPDX-License-Identifier: MIT
//
// The guest's suite. One process for all files: starting Node takes seconds under emulation.
import './oracle.test.js';
