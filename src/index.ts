export { Wal } from './log/wal.js'
export { WalReader } from './read/reader.js'
export { Cursor, type CursorEvents, type CursorMove } from './read/cursor.js'
export type { Consumer, ConsumerStats } from './consume/consumer.js'
export type { ConsumptionStats } from './consume/consumption.js'
export { Record } from './records/record.js'
export type { WalReadable } from './read/readable.js'
export type { WalWritable } from './log/writable.js'
export { checkpoint, type CheckpointReport } from './checkpoint/checkpoint.js'
export { restore, type Restored, type SkippedSnapshot } from './checkpoint/restore.js'
export type { Snapshot } from './checkpoint/snapshot.js'
export { verify } from './jobs/verify.js'
export { salvage } from './jobs/salvage.js'
export { stat } from './jobs/stat.js'
export { AbortError, WalError } from './errors.js'
export { channels } from './observe/events.js'
export type { BackupProgress, BackupReport } from './reports/backup.js'
export type { SalvageProgress, SalvageReport } from './reports/salvage.js'
export type { BatchPositions } from './queue/log-queue.js'
export type { Appendable, AppendableBytes, Codec, NoCodec } from './records/codec.js'
export type { SchemaCodec, SchemaResult, StandardSchema } from './records/schema.js'
export type {
  AcknowledgedOptions,
  AppendOptions,
  BackupOptions,
  CheckpointInit,
  CheckpointLog,
  CodecOption,
  CursorOptions,
  DecodeErrorAction,
  DecodeErrorHandler,
  EnqueueOptions,
  Mode,
  PointReadOptions,
  ReadOptions,
  ReadSince,
  ReadStart,
  RestoreOptions,
  SalvageOptions,
  ScrubOptions,
  SnapshotState,
  SyncOptions,
  VerifyOptions,
  WalCodecOptions,
  WalOptions,
  WritableOptions,
} from './options/types.js'
export type {
  BackoffRange,
  BatchHandler,
  ConsumeBatchOptions,
  ConsumeOptions,
  DeadLetter,
  DeadLetterHandler,
  DeadLetterLog,
  Handler,
  HandlerCall,
  StopOptions,
} from './options/consumer-types.js'
export type { Damage, Hole, PositionRange } from './reports/damage.js'
export type { CursorPosition, LogStat } from './reports/log-stat.js'
export type { FencedBytes, RecoveryReport } from './reports/recovery.js'
export type { Histogram, RecoveryStats, ScrubStats, WalStats } from './reports/stats.js'
export type { Problem, Verification } from './reports/verification.js'
export type {
  AppendEvent,
  ClockEvent,
  CorruptEvent,
  DetachedEvent,
  PoisonedEvent,
  RecoverEvent,
  RollEvent,
  SyncEvent,
  TruncateEvent,
  WalEvent,
  WalEvents,
} from './observe/events.js'
export type { MadeRecord, RecordFactory, RecordInit, RecordOptions, RecordVersion } from './records/record.js'
export type { ReadFields, RecordFields, TombstoneRecord, ValueRecord, WalRecord } from './records/block.js'
export type { FlippedBit, SchemaIssue, WalErrorCode, WalErrorDetails } from './errors.js'
