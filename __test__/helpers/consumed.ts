// What a cursor's next consumer gets.

import type { Cursor } from '../../index.js'

export const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** The values that a consumer gets from now to the end of the log. */
export async function rest(cursor: Cursor): Promise<string[]> {
  const given: string[] = []
  await cursor.consume(({ value }) => void given.push(String(value)), { follow: false }).done
  return given
}

/** The same for a log that `fill` has filled, as numbers. */
export const restPositions = async (cursor: Cursor) => (await rest(cursor)).map((value) => Number(value.replace('value-', '')))
