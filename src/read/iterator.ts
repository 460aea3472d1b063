// Iterators that share the position of a reader.

/** Result of an iterator at its end. */
export const END = { done: true, value: undefined } as const

/** Makes an iterator of a function that returns the next result, and one that ends the reader. */
export function iterator<R>(next: () => Promise<IteratorResult<R, undefined>>, end: () => void): AsyncIterableIterator<R> {
  return {
    next,
    return: async () => {
      end()
      return END
    },
    throw: async (error) => {
      end()
      throw error
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
