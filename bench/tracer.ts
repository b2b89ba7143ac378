// SPDX-License-Identifier: MIT
//
//     tracer.js DEV
//
// Reads a trace in batches until it is interrupted, and says how many events there were.
import { open } from 'blkfilter';

await using device = await open(process.argv[2] ?? '');
const trace = await device.filter('trace');
const stop = new AbortController();
process.once('SIGINT', () => {
  stop.abort();
});
let events = 0;
try {
  for await (const batch of trace.batches({ signal: stop.signal })) events += batch.length;
} catch (error) {
  if (!stop.signal.aborted) throw error;
}
console.error(`bench: ${events} events`);
