import fs from 'node:fs'
import { Unavailable } from './contract.js'

/** The reasons why the bench command could not install a package. */
const LEFT_OUT = new URL('../../node_modules/.left-out.json', import.meta.url)

/**
 * Imports a package that may not be installed. The specifier is a variable and the type is the caller's, so that
 * the benches type-check, and the other contestants run, without it.
 */
export async function optional<T>(specifier: string): Promise<T> {
  try {
    return (await import(specifier)) as T
  } catch (error) {
    throw new Unavailable(leftOut(specifier) ?? `${packageName(specifier)} cannot be loaded: ${firstLine(error)}`)
  }
}

/** Imports a CommonJS package like {@link optional}: its exports object is the default export. */
export async function optionalDefault<T>(specifier: string): Promise<T> {
  return (await optional<{ default: T }>(specifier)).default
}

function leftOut(specifier: string): string | undefined {
  if (!fs.existsSync(LEFT_OUT)) return undefined
  const reasons = JSON.parse(fs.readFileSync(LEFT_OUT, 'utf8')) as { [name: string]: string }
  const reason = reasons[specifier]
  return reason === undefined ? undefined : `not installed: ${withoutPaths(reason)}`
}

function packageName(specifier: string): string {
  return specifier.startsWith('file:') ? 'Forelog' : specifier
}

/** Paths are cut from the reason: it is printed in tables that get published. */
function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return withoutPaths(message.split('\n')[0] ?? '')
}

export function withoutPaths(text: string): string {
  return text.replace(/(?:file:\/\/)?\/\S*\//g, '')
}
