// SPDX-License-Identifier: MIT
//
// Of the guest's suite, what all else stands on, and what differs most between kernels: no I/O is missed, no change is lost.
import './oracle.test.js';
import './paths.test.js';
import './cbt.test.js';
import './drain.test.js';
import './replica.test.js';
import './stacking.test.js';
