// SPDX-License-Identifier: MIT
import { BlkfilterError } from './errors.js';

/** Bytes in a sector, whatever the device's own block size is. */
export const SECTOR_SIZE = 512;

/** A run of sectors. */
export interface Extent {
  /** The first, relative to the device. */
  sector: number;
  /** How many. */
  count: number;
}

const powers = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * Reads a size as the usual tools write them: `4096`, `64K` and `64KiB` (1024 each), `64KB` (1000 each).
 * @returns bytes
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`
 */
export function parseSize(text: string): number {
  const match = /^(\d+)\s*([kmgtp]?)(i?b)?$/i.exec(text.trim());
  const [, digits = '', prefix = '', suffix = ''] = match ?? [];
  const unit = suffix.toLowerCase();
  const base = prefix && unit === 'b' ? 1000 : 1024;
  const bytes = Number(digits) * base ** powers[prefix.toLowerCase() as keyof typeof powers];
  if (!match || (!prefix && unit === 'ib') || !Number.isSafeInteger(bytes)) {
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ARGUMENT',
      reason: `'${text}' is not a size`,
      hint: 'write bytes, or a unit such as 64KiB, 1M or 2G',
    });
  }
  return bytes;
}

/**
 * Writes a size for people, in units of 1024.
 * @param bytes a size in bytes
 */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let power = 0;
  // What would be written as 1024 of a unit is 1 of the next.
  for (; power < units.length - 1 && Number(value.toFixed(1)) >= 1024; power++) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power] ?? ''}`;
}

const milliseconds = { ms: 1, s: 1000, m: 60_000 };

/**
 * Reads a time: `100ms`, `2s`, `1m`.
 * @returns milliseconds
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`
 */
export function parseDuration(text: string): number {
  const [, digits, unit = ''] = /^(\d{1,9})\s*(ms|s|m)$/.exec(text.trim()) ?? [];
  if (digits === undefined) {
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ARGUMENT',
      reason: `'${text}' is not a time`,
      hint: 'write a number and its unit, such as 100ms, 2s or 1m',
    });
  }
  return Number(digits) * milliseconds[unit as keyof typeof milliseconds];
}

/** Writes a time for people, such that {@link parseDuration} reads it. */
export function formatDuration(ms: number): string {
  if (ms % milliseconds.m === 0) return `${ms / milliseconds.m}m`;
  return ms % milliseconds.s === 0 ? `${ms / milliseconds.s}s` : `${ms}ms`;
}

/**
 * Reads a range of sectors: `0-2047` (both included), `2048-` (to the device's end) or `5` (that one).
 * @returns the first sector and how many; no `count` means to the end
 * @throws {BlkfilterError} `ERR_BLKFILTER_ARGUMENT`
 */
export function parseRange(text: string): { sector: number; count?: number } {
  const match = /^(\d+)(-(\d*))?$/.exec(text.trim());
  const sector = Number(match?.[1]);
  const last = match?.[2] === undefined ? sector : match[3] ? Number(match[3]) : undefined;
  const bounded = last === undefined || (last >= sector && Number.isSafeInteger(last - sector + 1));
  if (!Number.isSafeInteger(sector) || !Number.isSafeInteger(last ?? 0) || !bounded) {
    throw new BlkfilterError({
      code: 'ERR_BLKFILTER_ARGUMENT',
      reason: `'${text}' is not a range of sectors`,
      hint: 'write FIRST-LAST, both included, such as 0-2047',
    });
  }
  return last === undefined ? { sector } : { sector, count: last - sector + 1 };
}

/** Writes an extent as the range that {@link parseRange} reads. */
export function formatRange({ sector, count }: Extent): string {
  return `${sector}-${sector + count - 1}`;
}
