// Which cursors are consumed in this environment. The consumers of a cursor share one feed.

import { busy, consumedElsewhere, invalid } from '../errors.js'
import type { FeedOptions } from '../options/consume.js'
import { clock } from '../util/timing.js'
import { Feed } from './feed.js'
import type { Source } from './source.js'

const feeds = new WeakMap<object, Map<string, Feed>>()

function feedOf(log: object, name: string): Feed | undefined {
  const feed = feeds.get(log)?.get(name)
  // A deleted cursor is another one than the cursor that now has its name.
  return feed?.isDeleted ? undefined : feed
}

/** Whether the cursor has a consumer in this environment, through any handle. */
export const isConsumed = (log: object, name: string): boolean => feedOf(log, name) !== undefined

/** Lets the consumers of a cursor notice that it was deleted, or that a handle was closed. */
export function noticeEnd(log: object, name: string): void {
  feeds.get(log)?.get(name)?.pump()
}

/**
 * Returns the feed for one more consumer of a cursor.
 *
 * @throws `ERR_WAL_BUSY` if the cursor has a consumer, unless all share the cursor in this thread.
 */
export function openFeed(source: Source, options: FeedOptions, share: boolean): Feed {
  const { log, name } = source
  const open = feedOf(log, name)
  if (open !== undefined) {
    if (!share || !open.isShared) throw busy(name, 'consume')
    for (const option of ['follow', 'skipExpired', 'window', 'commitEveryMs'] as const) {
      if (options[option] !== open.options[option])
        throw invalid(`options.${option} must be ${open.options[option]}, as for the consumers that share the cursor`, 'consume')
    }
    // A feed that has failed takes no more consumers. The new one waits until nothing is in its hands.
    if (open.failure === undefined) return open
  }
  if (!source.claim()) throw consumedElsewhere(name, 'consume')
  const named = feeds.get(log) ?? new Map<string, Feed>()
  feeds.set(log, named)
  const onClosed = () => {
    // If another feed has followed, the claim is that one's.
    if (named.get(name) !== feed) return
    named.delete(name)
    source.unclaim()
  }
  let feed: Feed
  try {
    feed = new Feed(source, options, clock, onClosed, open?.closed)
  } catch (error) {
    // A feed that is ending needs the claim until it has closed.
    if (open === undefined) source.unclaim()
    throw error
  }
  named.set(name, feed)
  return feed
}
