// SPDX-License-Identifier: MIT
// Events as lines of text or of JSON.
import type { TraceDrops, TraceEnd, TraceEvent, TraceSegment } from '../../index.js';

/** What the lines of a trace show. */
export interface LineOptions {
  /** Whether occurrences of a pattern are counted. */
  matches: boolean;
}

/** Turns what a stream gives into text. */
export interface Lines {
  /** What stands above all. */
  heading: string;
  event(event: TraceEvent): string;
  drops(drops: TraceDrops): string;
  end(reason: TraceEnd): string;
}

const seconds = (nanoseconds: bigint): string => (Number(nanoseconds) / 1e9).toFixed(6);

const place = ({ sector, count }: { sector: number; count: number }): string => `${sector}+${count}`;

/** Lines for people; their times count from the first event on. */
export class TextLines implements Lines {
  readonly heading: string;
  readonly #options: LineOptions;
  #since: bigint | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
    this.heading = this.#line('TIME(s)', 'DEVICE', 'COMM', 'TID', 'OPERATION', 'SECTOR+COUNT', 'LAT(ms)', 'MATCHES', '');
  }

  event(event: TraceEvent): string {
    const { device, submittedTo, operation, flags, segments } = event;
    this.#since ??= event.time;
    const line = this.#line(
      seconds(event.time - this.#since),
      submittedTo === device ? device : `${submittedTo}>${device}`,
      event.comm,
      String(event.tid),
      [operation, ...flags].join(' '),
      place(event),
      (event.latency / 1e6).toFixed(3),
      String(event.matches),
      event.status ?? '',
    );
    return [line, ...segments.map(segmentLine)].join('');
  }

  drops({ cpu, count }: TraceDrops): string {
    return `${count} events lost on CPU ${cpu}: its buffer was full\n`;
  }

  end(reason: TraceEnd): string {
    return reason === 'removed' ? 'the device is gone\n' : 'the filter was detached\n';
  }

  #line(...cells: [string, string, string, string, string, string, string, string, string]): string {
    const [time, device, comm, tid, operation, where, latency, matches, status] = cells;
    return `${[
      time.padStart(11),
      device.padEnd(10),
      comm.padEnd(16),
      tid.padStart(7),
      operation.padEnd(20),
      where.padStart(18),
      latency.padStart(9),
      ...(this.#options.matches ? [matches.padStart(7)] : []),
      status,
    ]
      .join(' ')
      .trimEnd()}\n`;
  }
}

const segmentLine = ({ offset, length, ...where }: TraceSegment): string =>
  `${' '.repeat(11)} segment of ${length} bytes at ${offset} of its page, sectors ${place(where)}\n`;

/** An object a line; numbers are exact, whatever their size. */
export class JsonLines implements Lines {
  readonly heading = '';

  event({ time, ...rest }: TraceEvent): string {
    // JSON knows numbers of any size, JSON.stringify does not.
    return `{"time":${time},${JSON.stringify(rest).slice(1)}\n`;
  }

  drops(drops: TraceDrops): string {
    return `${JSON.stringify({ drops })}\n`;
  }

  end(ended: TraceEnd): string {
    return `${JSON.stringify({ ended })}\n`;
  }
}
