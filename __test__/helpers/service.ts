// The service of examples/service.mjs as a process, and clients that press it.

import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { Agent, request } from 'node:http'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { ExecutionContext } from 'ava'
import type { WalOptions } from '../../index.js'
import { root } from './command.js'

export const serviceScript = path.join(root, 'examples', 'service.mjs')

export interface Answer {
  status: number
  text: string
}

/** Resolves to a code where the connection was refused, or broke before an answer. */
export function call(agent: Agent, port: number, url: string, body?: string): Promise<Answer | string> {
  return new Promise((resolve) => {
    const lost = ({ code = 'none' }: NodeJS.ErrnoException) => resolve(code)
    const method = body === undefined ? 'GET' : 'POST'
    const headers = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const sent = request({ agent, host: '127.0.0.1', port, path: url, method, headers }, (response) => {
      text(response).then((said) => resolve({ status: response.statusCode ?? 0, text: said }), lost)
    })
    sent.on('error', lost)
    sent.end(body)
  })
}

export class Service {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  /** How it ended: an exit code, or a signal. */
  readonly ended: Promise<number | NodeJS.Signals | null>
  stderr = ''
  port = 0
  /** The position that the follower begins at. */
  from = 0
  #stdout = ''

  private constructor(t: ExecutionContext, dir: string, options: WalOptions, env: NodeJS.ProcessEnv) {
    const args = [serviceScript, dir, '0', JSON.stringify(options)]
    this.child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => this.child.kill('SIGKILL'))
    this.child.stdout.on('data', (data: Buffer) => (this.#stdout += String(data)))
    this.child.stderr.on('data', (data: Buffer) => (this.stderr += String(data)))
    this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => resolve(signal ?? code)))
  }

  /** Resolves once it listens. */
  static async start(t: ExecutionContext, dir: string, options: WalOptions = {}, env = process.env): Promise<Service> {
    const service = new Service(t, dir, options, env)
    await new Promise<void>((listening, failed) => {
      service.child.stdout.on('data', () => {
        const [, port, from] = /^port (\d+), next position (\d+)$/m.exec(service.#stdout) ?? []
        if (port === undefined) return
        service.port = Number(port)
        service.from = Number(from)
        listening()
      })
      void service.ended.then((how) => failed(new Error(`ended with ${how}: ${service.stderr}`)))
    })
    return service
  }

  /** What the follower has printed, whole lines only. */
  followed(): [position: number, body: string][] {
    const lines = this.#stdout.slice(0, this.#stdout.lastIndexOf('\n') + 1).matchAll(/^(\d+) (.*)$/gm)
    return [...lines].map(([, position, body]) => [Number(position), body])
  }
}

/** What clients sent, and what they were told. */
export interface Told {
  sent: Set<string>
  /** Positions as answered. */
  answered: Map<number, string>
  statuses: { [status: string]: number }
  /** Codes of the connections that gave no answer. */
  broken: Set<string>
}

/**
 * So many clients post numbered bodies, each over a connection that it keeps while it holds, until one is refused, `most` bodies are sent or
 * `enough` says so.
 */
export async function press(service: Service, name: string, clients: number, most: number, enough: (told: Told) => boolean): Promise<Told> {
  const told: Told = { sent: new Set(), answered: new Map(), statuses: {}, broken: new Set() }
  const client = async (c: number): Promise<void> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let n = 0; told.sent.size < most && !enough(told); n += 1) {
      const body = `${name}-${c}-${n}:`.padEnd(20 + ((c * 31 + n * 17) % 600), '.')
      told.sent.add(body)
      const answer = await call(agent, service.port, '/', body)
      if (typeof answer === 'string') {
        told.broken.add(answer)
        if (answer === 'ECONNREFUSED') break
        continue
      }
      told.statuses[answer.status] = (told.statuses[answer.status] ?? 0) + 1
      if (answer.status === 200) told.answered.set(Number(answer.text), body)
    }
    agent.destroy()
  }
  await Promise.all(Array.from({ length: clients }, (_, c) => client(c)))
  return told
}
