/** What stands at a position: no two of them are alike. */
export const valueAt = (position) => `value-${position}`.padEnd(200, String(position % 7))
