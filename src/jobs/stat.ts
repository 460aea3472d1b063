// Reports the state of a log without a handle on it.

import { currentEnvironment } from '../native/environment.js'
import type { LogStat } from '../reports/log-stat.js'
import { absoluteDir, type PathLike } from '../util/paths.js'

/**
 * Reports the state of the log in a directory and its disk usage: positions, segments, cursors, bytes allocated and bytes in use.
 *
 * Needs no handle, takes no lock, writes nothing, and works beside a writer in any process.
 *
 * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_NOT_FOUND`, `ERR_WAL_FORMAT` or `ERR_WAL_IO`.
 * @example
 * ```ts
 * const { nextPosition, allocatedBytes } = await stat('./data/wal')
 * ```
 */
export async function stat(dir: PathLike): Promise<LogStat> {
  const from = absoluteDir(dir, 'stat')
  const environment = await currentEnvironment()
  const { standing } = await environment.request(environment.native.stat(from))
  if (standing === undefined) throw new TypeError('the native module returned no report')
  return standing
}
