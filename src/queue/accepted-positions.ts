// Which operation appended the record at a position, for the operations in flight.

/** Consecutive operations: the first appended one record or a batch, the others one record each. */
interface Span {
  /** Number of the first operation. */
  operation: number
  /** First position of the first operation; `Infinity` if the operations appended nothing. */
  first: number
  /** The last position of each operation is its number plus this. */
  shift: number
  /** The records after this position were cut off, and are no longer found. */
  end: number
}

/**
 * The positions of the operations in flight, in spans: a span ends only where the numbers of operations and positions drift apart, at a
 * batch, a sync, a truncation, or a record of another client.
 *
 * The queue sets `first` and `last` right after native code has accepted an operation, because nothing may be called there: the stack might
 * overflow. `note` is called before the next operation is passed on.
 */
export class AcceptedPositions {
  /** First position of what was accepted since `note`, 0 if that appended nothing. */
  first = 0
  /** Its last position. */
  last = 0
  #noted = 0
  #lastRecord = 0
  /** `shift` of the newest span, `NaN` if that span has ended. */
  #shift = NaN
  #spans: Span[] = []

  /** Notes what was accepted since the last call: one operation, or a run of single records. `issued` is the last operation's number. */
  note(issued: number, settled: number): void {
    if (issued === this.#noted) return
    if (this.first === 0 || this.last - issued !== this.#shift) this.#begin(issued, settled)
    if (this.first !== 0) this.#lastRecord = issued
    this.#noted = issued
    this.first = 0
  }

  #begin(issued: number, settled: number): void {
    const { first, last } = this
    const appended = first !== 0
    const shift = appended ? last - issued : NaN
    const spans = this.#spans
    while (spans.length > 1 && spans[1].operation <= settled + 1) spans.shift()
    spans.push({ operation: this.#noted + 1, first: appended ? first : Infinity, shift, end: Infinity })
    this.#shift = shift
  }

  /** Number of the last operation noted that appended a record, 0 if there is none. */
  get lastRecord(): number {
    return this.#lastRecord
  }

  /** Returns the number of the operation that appended the record at this position, 0 if it is none of those noted. */
  operationOf(position: number): number {
    const spans = this.#spans
    let next = this.#noted + 1
    for (let i = spans.length - 1; i >= 0; next = spans[i--].operation) {
      const { operation, first, shift, end } = spans[i]
      if (position >= first && position < next + shift && position <= end) return Math.max(operation, position - shift)
    }
    return 0
  }

  /** Returns the first position of the records that the operations after `settled` up to `upTo` appended, `undefined` if they have none. */
  firstAfter(settled: number, upTo: number): number | undefined {
    for (const [i, { operation, first, shift }] of this.#spans.entries()) {
      const from = Math.max(operation, settled + 1)
      const next = this.#spans[i + 1]?.operation ?? this.#noted + 1
      if (first !== Infinity && from < next && from <= upTo) return from === operation ? first : from + shift
    }
    return undefined
  }

  /** The records after this position are cut off, and their positions are given again. */
  cut(position: number): void {
    for (const span of this.#spans) span.end = Math.min(span.end, position)
    this.#shift = NaN
  }

  /** Operations were rejected: their positions are given again. */
  rejected(): void {
    this.#shift = NaN
  }
}
