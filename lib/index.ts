// SPDX-License-Identifier: MIT
import './refuse.js';

export { open, BlockDevice, type FilterTypes, type HandleOf, type OptionsOf } from './device.js';
export { Filter } from './filters/filter.js';
export {
  ChangeTracker,
  type CbtInfo,
  type CbtOptions,
  type Changes,
  type ChangesBatch,
  type ChangesOptions,
  type Checkpoint,
  type CheckpointOptions,
  type FrozenCheckpoint,
  type History,
  type HistoryEntry,
} from './filters/cbt.js';
export {
  Guard,
  readOnly,
  type GuardAction,
  type GuardCounters,
  type GuardOperation,
  type GuardOptions,
  type GuardRule,
} from './filters/guard.js';
export {
  Trace,
  TraceBatch,
  TraceStream,
  type TraceDrops,
  type TraceEnd,
  type TraceEvent,
  type TraceOptions,
  type TraceSegment,
  type TraceStreamOptions,
} from './filters/trace.js';
export { type ChangeBitmap, type ExtentList } from './extents.js';
export { filteredDevices, type AttachedFilter, type FilteredDevice } from './sysfs.js';
export { SECTOR_SIZE, formatDuration, formatRange, formatSize, parseDuration, parseRange, parseSize, type Extent } from './units.js';
export { BlkfilterError, type ErrorParts } from './errors.js';
export {
  heatMap,
  type HeatCell,
  type HeatLevel,
  type HeatMap,
  type HeatMapOptions,
} from './map/heat.js';
export { hottestAreas } from './map/areas.js';
export { fittingColumns, heatMapText, type HeatTextOptions } from './map/text.js';
export { heatMapHtml, type HeatHtmlOptions } from './map/html.js';
export { doctor, type Check } from './doctor.js';
export { checkpoint, type DeviceCheckpoint, type JointCheckpoint } from './checkpoint.js';
export { sync, type SyncCopy, type SyncOptions, type SyncResult, type SyncRun, type SyncRunOptions } from './copy/sync.js';
export { type SyncPair, type SyncProgress } from './copy/pair.js';
export { type MissingMember } from './members.js';
export { type Frozen } from './moment.js';
export { type NotFrozen } from './freeze.js';
export { createDiff, type Diff, type DiffOptions } from './diff/create.js';
export { applyDiff, type ApplyOptions, type ApplyResult, type DiffSource } from './diff/apply.js';
export { diffMark } from './diff/mark.js';
export { markOf, markParts, parseMark, type Mark, type MarkParts, type Since } from './mark.js';
export * as modules from './kernel-modules.js';
export * as rules from './rules.js';
export * as config from './config.js';
export * as boot from './boot.js';
export { type AttachRule } from './rules.js';
export { type ModuleStatus, type SigningKey } from './kernel-modules.js';
export { watchDevices, type WatchOptions } from './watch/watch.js';
export {
  type AddEvent,
  type ChangeEvent,
  type DeviceEvent,
  type DeviceInfo,
  type DeviceStateEvent,
  type FilterEvent,
  type MountEvent,
  type MountInfo,
  type OverrunEvent,
  type PartitionInfo,
} from './watch/events.js';
