// How far a long job is: a bar on a terminal, nothing or plain lines elsewhere.

import { Presets, SingleBar } from 'cli-progress'

export interface Progress {
  /** `done` of the total, in the unit of the total; `note` is shown beside it. */
  update(done: number, note?: string): void
  /** A line of its own, above the bar. */
  say(line: string): void
  stop(): void
}

/** Shows nothing. */
export const silent: Progress = { update() {}, say() {}, stop() {} }

function bar(total: number, stream: NodeJS.WriteStream): Progress {
  // Whoever draws the bar also handles Ctrl-C: without `gracefulExit` the bar leaves signals alone.
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

// Without a total there is no bar to draw: one line that is written over, a few times a second.
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

/** A bar if the total is known, a counter if not; away from a terminal only what `say` says. */
export function progressOn(stream: NodeJS.WriteStream, total: number | undefined): Progress {
  if (!stream.isTTY) return lines(stream)
  return total ? bar(total, stream) : counter(stream)
}
