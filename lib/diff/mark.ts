// SPDX-License-Identifier: MIT
// What a diff calls the states that it leads from and to.

/** A state of a device: as it was when this epoch of this generation began, or later. */
export interface Mark {
  generation: string;
  epoch: number;
}

/** Its name in a diff, where Ceph has a snapshot's. */
export const nameOf = ({ generation, epoch }: Mark): string => `blkfilter-${generation}-${epoch}`;

/** Reads a name that {@link nameOf} made; undefined for any other. */
export function markOf(name: string): Mark | undefined {
  const [, generation, digits] = /^blkfilter-([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})-([1-9]\d*)$/.exec(name) ?? [];
  const epoch = Number(digits);
  return generation !== undefined && Number.isSafeInteger(epoch) ? { generation, epoch } : undefined;
}
