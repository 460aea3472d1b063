// The value of a record, by its position.

const lengths = [20, 100, 300, 1000, 4000, 9000, 40, 0]

/** @param {number} position */
export const valueAt = (position) => `${position}:`.padEnd(lengths[position % lengths.length], '.')
