// What the writers of a log were told before they were killed, and what must therefore be in it.

/** A log as a fresh process finds it. */
export interface Contents {
  first: number
  next: number
  /** Which attempt made the record at each position; not a number where it is damaged. */
  attempts: Map<number, number>
}

const ATTEMPTS_PER_WRITER = 1_000_000

export class Knowledge {
  #writers = 0
  readonly #acknowledged = new Map<number, number>()
  #next = 1
  /** The log starts at the one that was done, or at one that was only asked for. */
  #first = 1
  #asked = 1

  /** Numbers for the attempts of one more writer. */
  nextAttempts(): number {
    this.#writers += 1
    return this.#writers * ATTEMPTS_PER_WRITER
  }

  appended(position: number, attempt: number): void {
    this.#acknowledged.set(position, attempt)
    this.#next = Math.max(this.#next, position + 1)
  }

  truncated(position: number, asked: boolean): void {
    if (asked) this.#asked = Math.max(this.#asked, position)
    else this.#first = Math.max(this.#first, position)
  }

  get acknowledged(): number {
    return this.#acknowledged.size
  }

  /** What is wrong with a log, in words; nothing if it keeps every promise. */
  flaws({ first, next, attempts }: Contents): string[] {
    const flaws: string[] = []
    const expect = (holds: boolean, flaw: string) => void (holds || flaws.push(flaw))
    expect(first >= this.#first, `starts at ${first}, although truncateBefore(${this.#first}) was acknowledged`)
    expect(first <= this.#asked, `starts at ${first}, and nobody asked for more than ${this.#asked}`)
    expect(next >= this.#next, `ends before ${next}, although ${this.#next - 1} was acknowledged`)
    expect(attempts.size === next - first, `holds ${attempts.size} records of ${next - first}`)
    let last = 0
    for (const [position, attempt] of attempts) {
      expect(!Number.isNaN(attempt), `record ${position} is damaged`)
      expect(attempt > last, `record ${position} is of attempt ${attempt}, after ${last}`)
      last = attempt
    }
    for (const [position, attempt] of this.#acknowledged) {
      if (position < first) continue
      const found = attempts.get(position)
      expect(found === attempt, `position ${position} was acknowledged for attempt ${attempt}, and holds ${found}`)
    }
    return flaws
  }
}
