// A clickstream. Event `n` is computed from `n` alone, so that any process can compare record `n` with what was appended.

const PAGES = ['/', '/search', '/cart', '/checkout', '/account', '/help', '/products']
const KINDS = ['view', 'view', 'view', 'click', 'scroll', 'add', 'buy']
const FROM = ['', 'https://example.org/', 'https://example.com/news', 'mail']
const FIRST_EVENT = Date.UTC(2024, 2, 1)
const MILLISECONDS_APART = 37

// The finalizer of MurmurHash3: every bit of the input moves half the bits of the output.
function scramble(n: number): number {
  let h = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

const pick = (list: string[], bits: number): string => list[bits % list.length]

/** Returns event `n`, counted from 1, as one line of JSON. */
export function event(n: number): Buffer {
  const a = scramble(n)
  const b = scramble(a ^ n)
  const time = new Date(FIRST_EVENT + n * MILLISECONDS_APART + (a % MILLISECONDS_APART))
  const page = pick(PAGES, a >>> 8)
  const path = page === '/products' ? `${page}/${b % 5000}` : page
  return Buffer.from(
    `{"time":"${time.toISOString()}","user":"u${a % 50_000}","session":"${b.toString(36)}",` +
      `"event":"${pick(KINDS, b >>> 4)}","page":"${path}","referrer":"${pick(FROM, b >>> 12)}","ms":${b % 900}}\n`
  )
}
