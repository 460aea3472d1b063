// What the writers of a log were told before they were killed, and what must therefore be in it.
//
// Whatever a writer does takes effect in the order of its calls. So a log holds, after a crash, what a prefix of the calls
// leaves in it, and all calls that were acknowledged are in that prefix.

import { IN_FLIGHT } from './records.mjs'

/** A log as a fresh process finds it. */
export interface Contents {
  first: number
  next: number
  /** Which attempt made the record at each position; not a number where it is damaged. */
  attempts: Map<number, number>
}

export type Command = 'before' | 'after' | 'reset'

type Call = { attempt: number; position?: number } | { command: Command; position: number }

const ATTEMPTS_PER_WRITER = 1_000_000

/** A log as the calls leave it. */
class State {
  /** The attempt at `first`, and so on. */
  constructor(
    public first: number,
    public attempts: number[]
  ) {}

  get next(): number {
    return this.first + this.attempts.length
  }

  /** Takes one more call; false if it was told another position than it has here. */
  take(call: Call): boolean {
    if ('attempt' in call) return this.attempts.push(call.attempt) > 0 && (call.position ?? this.next - 1) === this.next - 1
    const { command, position } = call
    if (command === 'after') this.attempts.length = position + 1 - this.first
    else if (command === 'reset') this.attempts = []
    else if (position > this.first) this.attempts.splice(0, position - this.first)
    this.first = command === 'reset' ? position : command === 'before' ? Math.max(this.first, position) : this.first
    return true
  }

  /** Whether it is what was found; a copy may start later. */
  isThat({ first, next, attempts }: Contents, copy = false): boolean {
    if (next !== this.next || attempts.size !== next - first || (copy ? first < this.first : first !== this.first)) return false
    return [...attempts].every(([position, attempt]) => attempt === this.attempts[position - this.first])
  }

  toString(): string {
    return `${this.first} to ${this.next - 1} (attempt ${this.attempts.at(-1) ?? 'none'})`
  }
}

/** A backup that was asked for. */
export interface Copy {
  dir: string
  /** It was told to be there, with these positions. */
  done?: { first: number; last: number }
  /** Calls that were acknowledged when it was asked for, and those made when it was done. */
  from: number
  to: number
}

export class Knowledge {
  #writers = 0
  /** As it was found last. */
  #found = new State(1, [])
  /** What the writer did since, as far as it has told. */
  #calls: Call[] = []
  /** So many of them were acknowledged. */
  #settled = 0
  #attempt = 0
  #pending: Command | undefined
  #copies = new Map<string, Copy>()
  acknowledged = 0

  /** Numbers for the attempts of one more writer. */
  nextAttempts(): number {
    this.#writers += 1
    this.#attempt = this.#writers * ATTEMPTS_PER_WRITER - 1
    this.#copies.clear()
    this.#pending = undefined
    return this.#attempt + 1
  }

  #attempted(last: number): void {
    while (this.#attempt < last) this.#calls.push({ attempt: ++this.#attempt })
  }

  appended(position: number, attempt: number): void {
    this.#attempted(attempt)
    const at = this.#calls.findIndex((call, i) => i >= this.#settled && 'attempt' in call && call.attempt === attempt)
    this.#calls[at] = { attempt, position }
    this.#settled = Math.max(this.#settled, at + 1)
    this.acknowledged += 1
  }

  /** About to be called, after that attempt. */
  asked(command: Command, position: number, attempt: number): void {
    this.#attempted(attempt)
    this.#calls.push({ command, position })
    this.#pending = command
  }

  done(): void {
    this.#settled = Math.max(this.#settled, this.#calls.findLastIndex((call) => 'command' in call) + 1)
    this.#pending = undefined
  }

  copyAsked(dir: string): void {
    this.#copies.set(dir, { dir, from: this.#settled, to: Infinity })
  }

  copied(dir: string, first: number, last: number): void {
    const copy = this.#copies.get(dir)
    if (copy) [copy.done, copy.to] = [{ first, last }, this.#calls.length + IN_FLIGHT]
  }

  /** What was asked for and not acknowledged at the end. */
  get pending(): Command | undefined {
    return this.#pending
  }

  get copies(): Copy[] {
    return [...this.#copies.values()]
  }

  /** The states that the calls lead through, from after the first `from` of them on; a position told wrongly is a flaw. */
  #states(from: number, to: number, visit: (state: State) => boolean, flaws: string[] = []): boolean {
    const state = new State(this.#found.first, [...this.#found.attempts])
    const more = Array.from({ length: IN_FLIGHT }, (_, i) => ({ attempt: this.#attempt + 1 + i }))
    const calls = [...this.#calls, ...more]
    for (let taken = 0; taken <= calls.length && taken <= to; taken += 1) {
      if (taken > 0 && !state.take(calls[taken - 1])) flaws.push(`${JSON.stringify(calls[taken - 1])}, and its place is ${state.next - 1}`)
      if (taken >= from && visit(state)) return true
    }
    return false
  }

  /** What is wrong with a log, in words; nothing if it keeps every promise. From then on it is as it was found. */
  flaws(found: Contents): string[] {
    const flaws: string[] = []
    const possible: string[] = []
    const isThere = this.#states(this.#settled, Infinity, (state) => possible.push(String(state)) > 0 && state.isThat(found), flaws)
    if (!isThere)
      flaws.push(`${described(found)}; acknowledged was ${possible[0]}, and nothing that may follow is it:\n${possible.join('\n')}`)
    this.#found = new State(found.first, [...found.attempts.values()])
    this.#calls = []
    this.#settled = 0
    return flaws
  }

  /** What is wrong with a copy; `undefined` does not open. To be asked before `flaws`. */
  copyFlaws({ dir, done, from, to }: Copy, found: Contents | undefined): string[] {
    if (found === undefined) return done ? [`${dir} was told to be there and does not open`] : []
    const flaws: string[] = []
    if (done && (done.first !== found.first || done.last !== found.next - 1))
      flaws.push(`${dir}: ${described(found)}, told was ${JSON.stringify(done)}`)
    if (!this.#states(from, to, (state) => state.isThat(found, true))) flaws.push(`${dir}: ${described(found)}, which the log never was`)
    return flaws
  }
}

const described = ({ first, next, attempts }: Contents): string =>
  `holds ${first} to ${next - 1} (${attempts.size} records, the last of attempt ${[...attempts.values()].at(-1)})`
