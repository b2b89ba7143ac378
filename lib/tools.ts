// SPDX-License-Identifier: MIT

/**
 * The environment for the system's own tools: those of administrators are not on everyone's path, and what they say is
 * matched against, so it must be in English.
 */
export const toolEnvironment = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
