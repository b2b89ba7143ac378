// SPDX-License-Identifier: MIT
//
//   node check.cjs first|again DISK STATE
//
// Tracks a disk as a script of somebody's would: in STATE it keeps what it needs to ask what changed since. The oracle is
// its own list of the blocks that it wrote.
const assert = require('node:assert/strict');
const { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } = require('node:fs');
const { open } = require('blkfilter');

const [, , what, disk, state] = process.argv;
const SECTORS = 8;

async function collected(changes) {
  const blocks = [];
  for await (const { sector, count } of changes) {
    for (let at = sector; at < sector + count; at += SECTORS) blocks.push(at / SECTORS);
  }
  return blocks;
}

/** Writes some blocks of 4 KiB anywhere, of which it gives the numbers. */
function writeBlocks() {
  const fd = openSync(disk, constants.O_WRONLY | constants.O_DSYNC);
  const blocks = Array.from({ length: 40 }, () => Math.floor(Math.random() * 65536));
  for (const block of blocks) writeSync(fd, Buffer.alloc(4096, 'x'), 0, 4096, block * 4096);
  closeSync(fd);
  return [...new Set(blocks)].sort((a, b) => a - b);
}

async function main() {
  const device = await open(disk);
  const tracker = what === 'first' ? await device.attach('cbt', { blockSize: '4KiB' }) : await device.filter('cbt');
  if (what === 'again') {
    const { since, generation } = JSON.parse(readFileSync(state, 'utf8'));
    assert.notEqual((await tracker.info()).generation, generation);
    await assert.rejects(collected(tracker.changes({ since, generation })), { code: 'EGENERATION', message: /attached anew/ });
  }
  const { epoch, generation } = await tracker.checkpoint();
  const written = writeBlocks();
  await tracker.checkpoint();
  assert.deepEqual(await collected(tracker.changes({ since: epoch, generation })), written);
  writeFileSync(state, JSON.stringify({ since: epoch, generation }));
  await device.close();
}

main();
