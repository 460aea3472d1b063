// What a log and its handles know of their readers.

/** A reader with resources to release. */
export interface OpenReader {
  /** Called after records were removed from the end of the log. */
  onTruncation(): void
  /** Fails the reader because its handle was closed. */
  close(): void
}

/** Held weakly, so that an unreferenced reader can be collected. */
export type OpenReaders = Set<WeakRef<OpenReader>>

/** The log handle that readers belong to. */
export interface Handle {
  /** The `Wal`. It is closed when it is garbage collected, so every active reader keeps a reference to it. */
  readonly owner: object
  readonly readers: OpenReaders
  isClosed: boolean
}
