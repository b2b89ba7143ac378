// SPDX-License-Identifier: MIT
// All that can be done with the kernel modules, as the public API has it.
export { build, load, status, unload, type ModuleStatus } from './modules.js';
export { install, uninstall } from './install.js';
export { sign, type SigningKey } from './sign.js';
