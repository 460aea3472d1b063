// Progress of a long job: a bar on a terminal, and elsewhere nothing or plain lines.

import { Presets, SingleBar } from 'cli-progress'

export interface Progress {
  /** Shows that `done` of the total is done, in the unit of the total, with `note` beside it. */
  update(done: number, note?: string): void
  /** Prints a line above the bar. */
  say(line: string): void
  stop(): void
}

/** Shows nothing. */
export const silent: Progress = { update() {}, say() {}, stop() {} }

function bar(total: number, stream: NodeJS.WriteStream): Progress {
  // By default the bar also handles Ctrl-C. With `gracefulExit: false` it leaves signals alone.
  const single = new SingleBar(
    { format: '{bar} {percentage}% | {note}', stream, clearOnComplete: true, hideCursor: true, gracefulExit: false },
    Presets.shades_classic
  )
  single.start(total, 0, { note: '' })
  return {
    update: (done, note = '') => single.update(Math.min(done, total), { note }),
    say(line) {
      stream.write(`\r\x1b[K${line}\n`)
      single.render()
    },
    stop: () => single.stop(),
  }
}

// Shows one line that is overwritten at most ten times a second, if the total is not known.
function counter(stream: NodeJS.WriteStream): Progress {
  let shown = 0
  return {
    update(_done, note = '') {
      if (performance.now() - shown < 100) return
      shown = performance.now()
      stream.write(`\r\x1b[K${note}`)
    },
    say: (line) => void stream.write(`\r\x1b[K${line}\n`),
    stop: () => void stream.write('\r\x1b[K'),
  }
}

function lines(stream: NodeJS.WriteStream): Progress {
  return { update() {}, say: (line) => void stream.write(`${line}\n`), stop() {} }
}

/** Shows a bar if the total is known and a counter if not. If the stream is not a terminal, shows only the lines given to `say`. */
export function progressOn(stream: NodeJS.WriteStream, total: number | undefined): Progress {
  if (!stream.isTTY) return lines(stream)
  return total ? bar(total, stream) : counter(stream)
}
