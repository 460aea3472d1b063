import { SingleBar } from 'cli-progress'

/** One line on a terminal. Shows nothing if the stream is not a terminal. */
export class Progress {
  readonly #bar: SingleBar | undefined
  #done = 0

  constructor(total: number, stream: NodeJS.WriteStream) {
    if (!stream.isTTY) return
    this.#bar = new SingleBar({
      format: '{bar} {value}/{total} · {eta_formatted} left · {what}',
      stream,
      clearOnComplete: true,
      hideCursor: true,
    })
    this.#bar.start(total, 0, { what: '' })
  }

  begin(what: string): void {
    this.#bar?.update(this.#done, { what })
  }

  end(): void {
    this.#bar?.update(++this.#done)
  }

  stop(): void {
    this.#bar?.stop()
  }
}
