// SPDX-License-Identifier: MIT
// What is written on devices of what they belong to, for what no driver has in use and so nothing in /sys tells.
import { nameOfNode, type Whole } from './stack.js';
import { output } from './tools.js';

/** What blkid says of a device. */
type Tags = Partial<Record<string, string>>;

/** A device that is a part of something. */
interface Part {
  name: string;
  /** What it is a part of: the same for all parts. */
  whole: string;
  /** What tells the parts from each other. A copy of a device has that of the device. */
  id: string;
}

/** The volume groups of LVM, by the UUIDs of their devices. */
async function volumeGroups(): Promise<Map<string, string>> {
  const lines = (await output('pvs', '--noheadings', '-o', 'pv_uuid,vg_name,vg_uuid')) ?? '';
  return new Map(
    lines.split('\n').flatMap((line) => {
      const [device, group, uuid] = line.trim().split(/\s+/);
      // One that is in no group has no more fields.
      return device === undefined || uuid === undefined ? [] : [[device, `LVM ${group} ${uuid}`] as const];
    }),
  );
}

/** What a device is a part of; undefined when it stands alone. */
function wholeOf(tags: Tags, groups: Map<string, string>): string | undefined {
  const { TYPE, UUID = '', UUID_SUB, LOGUUID = UUID, EXT_JOURNAL } = tags;
  if (TYPE === 'LVM2_member') return groups.get(UUID);
  // ext4 and its external journal.
  if (EXT_JOURNAL !== undefined) return `journal ${EXT_JOURNAL}`;
  if (TYPE === 'jbd') return `journal ${LOGUUID}`;
  // Parts that have a UUID of their own have that of the whole beside it: btrfs, md and others. md's oldest have not.
  return UUID_SUB !== undefined || TYPE === 'linux_raid_member' ? `${TYPE} ${UUID}` : undefined;
}

/** The lines NAME=VALUE that are of one device. */
function tagsOf(text: string): Tags {
  const lines = text.split('\n').map((line) => /^(\w+)=(.*)$/.exec(line) ?? []);
  return Object.fromEntries(lines.map(([, name = '', value]) => [name, value]));
}

/**
 * The devices that are parts of something.
 * @param names the kernel's; all that there are when none is given
 */
async function parts(...names: string[]): Promise<Part[]> {
  const paths = names.map((name) => `/dev/${name.replaceAll('!', '/')}`);
  const said = (await output('blkid', '-c', '/dev/null', '-o', 'export', ...paths)) ?? '';
  const devices = said.split('\n\n').map(tagsOf);
  const groups = devices.some(({ TYPE }) => TYPE === 'LVM2_member') ? await volumeGroups() : new Map<string, string>();
  const found = devices.map(async (tags) => {
    const { DEVNAME = '', UUID, UUID_SUB, TYPE } = tags;
    const name = await nameOfNode(DEVNAME);
    const whole = wholeOf(tags, groups);
    if (whole === undefined || name === undefined) return [];
    return [{ name, whole, id: UUID_SUB ?? (TYPE === 'linux_raid_member' ? name : (UUID ?? name)) }];
  });
  return (await Promise.all(found)).flat();
}

/**
 * What devices are parts of by their signatures, with all the devices that are. Copies of the devices have the same
 * signatures, and are left out.
 * @param names the kernel's
 */
export async function wholesBySignature(names: string[]): Promise<Whole[]> {
  const own = names.length ? await parts(...names) : [];
  if (own.length === 0) return [];
  const ids = new Set(own.map(({ id }) => id));
  const all = [...own, ...(await parts()).filter(({ id }) => !ids.has(id))];
  return [...new Set(own.map(({ whole }) => whole))].map((what) => ({
    what,
    devices: all.filter(({ whole }) => whole === what).map(({ name }) => name),
  }));
}
