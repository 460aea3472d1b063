export { Wal } from './wal.js'
export { WalReader, type Hole, type ReadStart } from './reader.js'
export { Cursor, type CursorEvents, type CursorMove, type CursorPosition } from './cursor.js'
export { Record } from './record.js'
export type { WalWritable } from './writable.js'
export { verify } from './verify.js'
export { salvage, type SalvageProgress, type SalvageReport } from './salvage.js'
export { stat } from './stat.js'
export { AbortError, WalError } from './errors.js'
export { channels } from './diagnostics.js'
export type { BackupProgress, BackupReport } from './backup.js'
export type { BatchPositions } from './channel.js'
export type { Appendable, AppendableBytes, Codec, CodecOption, Decoded, NoCodec } from './codec.js'
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
} from './options.js'
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
} from './reports.js'
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
} from './diagnostics.js'
export type { MadeRecord, RecordInit, RecordOptions, RecordVersion } from './record.js'
export type { RecordFields, WalRecord } from './block.js'
export type { FlippedBit, WalErrorCode, WalErrorDetails } from './errors.js'
