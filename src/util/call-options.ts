// Options that concern the promise of one call: an AbortSignal, and the call site for stack traces.

/** Options of the promise of one call. */
export interface CallOptions {
  signal: AbortSignal | undefined
  site: CallSite | undefined
}

/** Call site of an operation. V8 formats `stack` on first access, and a program can replace the text by anything or by nothing. */
export interface CallSite {
  stack?: unknown
}

/** Captures the frames outside of `callee`. */
export function callSite(callee: (...args: never[]) => unknown): CallSite {
  const site = {}
  Error.captureStackTrace(site, callee)
  return site
}

/** Appends the call site to the stack of an error that belongs to one caller alone. */
export function calledFrom(error: unknown, { stack }: CallSite): unknown {
  const frames = typeof stack === 'string' ? stack.indexOf('\n') : -1
  if (frames >= 0 && error instanceof Error) error.stack = `${error.stack ?? ''}\n  called from:${(stack as string).slice(frames)}`
  return error
}
