// SPDX-License-Identifier: MIT
// Imported first, so that whoever imports the package where it cannot work learns that, and not what breaks first.
import { unsupported } from './supported.js';

const reason = unsupported();
if (reason !== undefined) throw new Error(reason);
