// SPDX-License-Identifier: MIT
// What kept several devices from being of one moment, in words.
import type { MissingMember, NotFrozen } from '../index.js';
import { paint } from './output.js';

export const notFrozenLines = (notFrozen: NotFrozen[]): string[] =>
  notFrozen.map(({ path, reason }) => paint('yellow', `not frozen: ${path} (${reason})`));

export const missingLines = (members: MissingMember[]): string[] =>
  members.map(({ device, of }) => paint('yellow', `missing: ${device}, which has a part of ${of}`));
