// SPDX-License-Identifier: MIT
// Has to run where nothing else of the package does: it imports nothing, and says nothing that old versions cannot read.

/** Why the package cannot work here, in one line; undefined where it can. */
export function unsupported(): string | undefined {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (process.platform !== 'linux') return `blkfilter works on Linux, and this is ${process.platform}`;
  if (major > 20 || (major === 20 && minor >= 19)) return undefined;
  return `blkfilter needs Node.js 20.19 or newer, and this is ${process.versions.node}`;
}
