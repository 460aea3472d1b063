// Ages by the wall clock.

/**
 * Returns for how long a record has been committed, in milliseconds; 0 if its time is in the future. Uses `Date.now()`, as the check for
 * expired records does, so a clock replaced by a test counts in both places.
 */
export const ageOf = (committedAt: number | undefined): number | undefined =>
  committedAt === undefined ? undefined : Math.max(0, Date.now() - committedAt)
