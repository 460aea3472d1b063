// Numbers formatted for people.

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 })

export const count = (n: number): string => grouped.format(n)
export const megabytes = (bytes: number): string => `${short.format(bytes / 1e6)} MB`
export const milliseconds = (ms: number): string => `${short.format(ms)} ms`
export const rate = (n: number, ms: number): string => count(ms > 0 ? (n / ms) * 1000 : 0)
export const mean = (sum: number, n: number): string => short.format(n > 0 ? sum / n : 0)
