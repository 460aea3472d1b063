// Who must hear of a reader while it has resources to release.

import type { OpenReader, OpenReaders } from '../queue/open-reader.js'
import { abortListeners } from '../util/abort-listeners.js'

/** A reader whose signal may be aborted. */
interface AbortableReader extends OpenReader {
  abort(): void
}

/**
 * Adds a reader to these sets and to the signal's listeners. Returns a function that removes it again and holds the reader only weakly too.
 */
export function register(self: WeakRef<AbortableReader>, sets: OpenReaders[], signal: AbortSignal | undefined): () => void {
  for (const readers of sets) readers.add(self)
  const unlisten = signal === undefined ? undefined : abortListeners.add(signal, () => self.deref()?.abort())
  return () => {
    for (const readers of sets) readers.delete(self)
    unlisten?.()
  }
}

const collected = new FinalizationRegistry<() => void>((unregister) => unregister())

/** Calls `unregister` if the reader is garbage collected without having been released. */
export const unregisterWhenCollected = (reader: object, unregister: () => void): void => collected.register(reader, unregister)
