// SPDX-License-Identifier: MIT
// Rates, latencies and hot areas of the events of an interval.
import { formatRange, formatSize, SECTOR_SIZE, type Extent, type TraceEvent } from '../../index.js';
import { lineUp } from '../../columns.js';
import { Histogram, histogramLines, type Bucket } from './histogram.js';

/** Areas of the device that are told apart, at most. */
const AREAS = 1024;
const SMALLEST_AREA = 2048;
const HOTTEST = 5;

/** What is known of one operation. */
export interface OperationFigures {
  operation: string;
  requests: number;
  bytes: number;
  requestsPerSecond: number;
  bytesPerSecond: number;
  /** Nanoseconds. */
  averageLatency: number;
  longestLatency: number;
  errors: number;
}

/** What is known of a part of the device. */
export interface AreaFigures extends Extent {
  requests: number;
  bytes: number;
}

/** What an interval held. */
export interface Figures {
  seconds: number;
  /** Busiest first. */
  operations: OperationFigures[];
  /** Microseconds, of all operations. */
  latency: Bucket[];
  /** Hottest first, by requests. */
  areas: AreaFigures[];
  /** Events that were lost. */
  dropped: number;
}

interface Sums {
  requests: number;
  bytes: number;
  latency: number;
  longest: number;
  errors: number;
}

/** What a summary needs of an event. */
export type Summed = Pick<TraceEvent, 'operation' | 'sector' | 'count' | 'latency' | 'status'>;

/** Sums up events, interval by interval. */
export class Summary {
  readonly #sectors: number;
  readonly #areaSectors: number;
  #operations = new Map<string, Sums>();
  #areas = new Map<number, { requests: number; sectors: number }>();
  #latency = new Histogram();
  #dropped = 0;

  /** @param sectors the device's size */
  constructor(sectors: number) {
    this.#sectors = sectors;
    this.#areaSectors = Math.max(SMALLEST_AREA, 2 ** Math.ceil(Math.log2(Math.max(1, sectors / AREAS))));
  }

  add({ operation, sector, count, latency, status }: Summed): void {
    const sums = this.#operations.get(operation) ?? { requests: 0, bytes: 0, latency: 0, longest: 0, errors: 0 };
    sums.requests++;
    sums.bytes += count * SECTOR_SIZE;
    sums.latency += latency;
    sums.longest = Math.max(sums.longest, latency);
    if (status !== null) sums.errors++;
    this.#operations.set(operation, sums);
    this.#latency.add(latency / 1000);
    if (count > 0) this.#heat(Math.floor(sector / this.#areaSectors), count);
  }

  /** A request counts where it begins. */
  #heat(area: number, sectors: number): void {
    const sums = this.#areas.get(area) ?? { requests: 0, sectors: 0 };
    sums.requests++;
    sums.sectors += sectors;
    this.#areas.set(area, sums);
  }

  addDropped(count: number): void {
    this.#dropped += count;
  }

  /** The figures of an interval that lasted so long; the next one begins. */
  take(seconds: number): Figures {
    const figures: Figures = {
      seconds,
      operations: [...this.#operations]
        .sort(([, a], [, b]) => b.requests - a.requests)
        .map(([operation, { requests, bytes, latency, longest, errors }]) => ({
          operation,
          requests,
          bytes,
          requestsPerSecond: requests / seconds,
          bytesPerSecond: bytes / seconds,
          averageLatency: latency / requests,
          longestLatency: longest,
          errors,
        })),
      latency: this.#latency.buckets(),
      areas: [...this.#areas]
        .sort(([a, { requests: inA }], [b, { requests: inB }]) => inB - inA || a - b)
        .slice(0, HOTTEST)
        .map(([area, { requests, sectors }]) => ({ ...this.#extent(area), requests, bytes: sectors * SECTOR_SIZE })),
      dropped: this.#dropped,
    };
    this.#operations = new Map();
    this.#areas = new Map();
    this.#latency = new Histogram();
    this.#dropped = 0;
    return figures;
  }

  #extent(area: number): Extent {
    const sector = area * this.#areaSectors;
    return { sector, count: Math.max(1, Math.min(this.#areaSectors, this.#sectors - sector)) };
  }
}

const rate = (perSecond: number): string => (perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond)));
const milliseconds = (nanoseconds: number): string => (nanoseconds / 1e6).toFixed(3);

/**
 * Figures as text.
 * @param paint draws headings
 */
export function summaryLines(device: string, figures: Figures, paint: (style: 'bold', text: string) => string): string[] {
  const { seconds, operations, latency, areas, dropped } = figures;
  const lost = dropped ? `; ${dropped} events lost, the buffers were full` : '';
  const title = paint('bold', `${device}, the last ${seconds.toFixed(1)} s${lost}`);
  if (operations.length === 0) return [title, 'no requests'];
  return [
    title,
    '',
    ...lineUp(
      ['OPERATION', 'REQ/s', 'BYTES/s', 'AVG(ms)', 'MAX(ms)', 'ERRORS'],
      operations.map((one) => [
        one.operation,
        rate(one.requestsPerSecond),
        formatSize(Math.round(one.bytesPerSecond)),
        milliseconds(one.averageLatency),
        milliseconds(one.longestLatency),
        String(one.errors),
      ]),
      paint,
    ),
    '',
    ...histogramLines(latency, 'usecs'),
    '',
    ...lineUp(
      ['HOTTEST SECTORS', 'REQUESTS', 'BYTES'],
      areas.map((area) => [formatRange(area), String(area.requests), formatSize(area.bytes)]),
      paint,
    ),
  ];
}
