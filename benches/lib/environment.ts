import fs from 'node:fs'
import os from 'node:os'
import { basename, sep } from 'node:path'

/** The machine in words that can be published: no host name, no paths. */
export interface Environment {
  readonly date: string
  readonly node: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly system: string
  readonly fileSystem: string
  readonly device: string
}

export function describe(directory: string): Environment {
  const { fileSystem, device } = mount(fs.realpathSync(directory))
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    fileSystem,
    device,
  }
}

/** From /proc/mounts, where there is one: the longest mount point that holds the directory. */
function mount(directory: string): { fileSystem: string; device: string } {
  let best = { point: '', fileSystem: `statfs type 0x${fs.statfsSync(directory).type.toString(16)}`, device: 'unknown' }
  if (!fs.existsSync('/proc/mounts')) return best
  for (const line of fs.readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const [device, point, type, options] = line.split(' ')
    if (options === undefined || point.length < best.point.length) continue
    const inside = directory === point || directory.startsWith(point.endsWith(sep) ? point : point + sep)
    if (inside) best = { point, fileSystem: `${type} (${interesting(options)})`, device: deviceName(device) }
  }
  return best
}

/** Mount options that change what a sync costs. */
function interesting(options: string): string {
  return options
    .split(',')
    .filter((option) => /^(rw|ro|relatime|noatime|discard|barrier.*|nobarrier|data=.*|sync|compress.*)$/.test(option))
    .join(',')
}

function deviceName(device: string): string {
  const name = basename(device)
  const rotational = `/sys/block/${name}/queue/rotational`
  const kind = fs.existsSync(rotational) && fs.readFileSync(rotational, 'utf8').trim() === '1' ? 'rotational' : 'not rotational'
  return /^(vd|xvd)/.test(name) ? `${name} (virtual disk)` : `${name} (${kind})`
}

/** CPU seconds that the whole machine has been busy for. */
export function busySeconds(): number {
  let milliseconds = 0
  for (const { times } of os.cpus()) milliseconds += times.user + times.nice + times.sys + times.irq
  return milliseconds / 1000
}
