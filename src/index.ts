export { Wal } from './log/wal.js'
export { WalReader, type Hole, type ReadStart } from './read/reader.js'
export { Cursor, type CursorEvents, type CursorMove, type CursorPosition } from './read/cursor.js'
export { Record } from './records/record.js'
export type { WalWritable } from './log/writable.js'
export { verify } from './jobs/verify.js'
export { salvage, type SalvageProgress, type SalvageReport } from './jobs/salvage.js'
export { stat } from './jobs/stat.js'
export { AbortError, WalError } from './errors.js'
export { channels } from './observe/diagnostics.js'
export type { BackupProgress, BackupReport } from './jobs/backup.js'
export type { BatchPositions } from './queue/log-queue.js'
export type { Appendable, AppendableBytes, Codec, CodecOption, Decoded, NoCodec } from './records/codec.js'
export type {
  AppendOptions,
  BackupOptions,
  CursorOptions,
  EnqueueOptions,
  Mode,
  ReadOptions,
  SalvageOptions,
  ScrubOptions,
  SyncOptions,
  VerifyOptions,
  WalCodecOptions,
  WalOptions,
  WritableOptions,
} from './options/options.js'
export type {
  Damage,
  FencedBytes,
  Histogram,
  LogStat,
  PositionRange,
  Problem,
  RecoveryReport,
  RecoveryStats,
  ScrubStats,
  Verification,
  WalStats,
} from './reports/reports.js'
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
} from './observe/diagnostics.js'
export type { MadeRecord, RecordInit, RecordOptions, RecordVersion } from './records/record.js'
export type { RecordFields, WalRecord } from './records/block.js'
export type { FlippedBit, WalErrorCode, WalErrorDetails } from './errors.js'
