// Schemas: they check values before a codec encodes them, and after it has decoded them.

import { types } from 'node:util'
import type { SchemaIssue } from '../errors.js'
import { describe } from '../util/describe.js'
import type { Codec } from './codec.js'
import { pathOf } from './fidelity.js'

/** What a schema makes of a value: the value that it stands for, or why it does not match. */
export type SchemaResult<Out> =
  | {
      /** What the value stands for. */
      readonly value: Out
      /** Nothing was found. */
      readonly issues?: undefined
    }
  | {
      /** Why the value does not match. */
      readonly issues: readonly SchemaIssue[]
    }

/**
 * A schema that follows the interface Standard Schema, version 1, as those of Zod, Valibot and ArkType do. `In` is the type of the values
 * that it takes, and `Out` the type of those that it returns.
 */
export interface StandardSchema<In = unknown, Out = In> {
  /** The interface that libraries of schemas share. */
  readonly '~standard': {
    /** Version of the interface. */
    readonly version: 1
    /** Name of the library. */
    readonly vendor: string
    /** Checks a value. A codec needs the result at once, so a promise is refused. */
    readonly validate: (value: unknown) => SchemaResult<Out> | Promise<SchemaResult<Out>>
    /** Exists only in the type. */
    readonly types?:
      | {
          /** Type of the values that the schema takes. */
          readonly input: In
          /** Type of the values that it returns. */
          readonly output: Out
        }
      | undefined
  }
}

/**
 * A codec whose values are checked by a schema.
 *
 * A value is checked when it is appended, and stored as it was given. When it is read, it is checked again, and the reader returns what the
 * schema makes of it: defaults are filled in and transformations are made by the reader, so whatever was accepted can be read.
 */
export interface SchemaCodec<T, In = T> {
  /**
   * Name of the codec in error messages.
   *
   * @defaultValue the name of the format
   */
  readonly name?: string
  /**
   * How a value becomes bytes.
   *
   * @defaultValue `'json'`
   */
  readonly format?: 'json' | 'msgpack' | Codec<unknown, never>
  /** Check of the values. Asynchronous schemas are refused with `ERR_WAL_INVALID_ARG` at the first value. */
  readonly schema: StandardSchema<In, T>
  /**
   * Turns a value that was stored by an older version of the program into one that `schema` takes. Called with every value that is read,
   * before the check. If it throws, the value cannot be decoded.
   *
   * @defaultValue values are checked as they were stored
   */
  upcast?(value: unknown): unknown
}

/** A value that the schema refuses. */
export class Mismatch extends Error {
  readonly #issues: readonly SchemaIssue[]

  constructor(issues: readonly SchemaIssue[]) {
    super(textOf(issues))
    this.#issues = issues
  }

  /** Returns the issues of a mismatch; `undefined` for anything else that was thrown. Runs no code of the caller, unlike `instanceof`. */
  static issuesOf(thrown: unknown): readonly SchemaIssue[] | undefined {
    return typeof thrown === 'object' && thrown !== null && #issues in thrown ? thrown.#issues : undefined
  }
}

/** A codec that cannot work with any value. Unlike a value that cannot be decoded, it is never skipped. */
export class CodecMisuse extends TypeError {
  readonly #mark = true

  /** Whether this was thrown. Runs no code of the caller, unlike `instanceof`. */
  static is(thrown: unknown): thrown is CodecMisuse {
    return typeof thrown === 'object' && thrown !== null && #mark in thrown
  }
}

/** The functions of a schema codec, read from the options once. */
export interface Check {
  validate(value: unknown): unknown
  upcast: ((value: unknown) => unknown) | undefined
}

/**
 * Returns what the schema makes of a value.
 *
 * @throws {@link Mismatch} if the value does not match, and {@link CodecMisuse} if the schema does not follow the interface.
 */
function checked({ validate }: Check, value: unknown): unknown {
  const result = atOnce(validate(value), 'options.codec.schema')
  if (typeof result !== 'object' || result === null) {
    throw new CodecMisuse(`options.codec.schema must return an object { value } or { issues }, not ${describe(result)}`)
  }
  const { issues } = result as { issues?: unknown }
  if (issues === undefined) return (result as { value?: unknown }).value
  if (Array.isArray(issues)) throw new Mismatch(issues)
  throw new CodecMisuse(`options.codec.schema must return an array as issues, not ${describe(issues)}`)
}

/** Returns a result that is no promise. */
function atOnce(result: unknown, what: string): unknown {
  if (typeof result !== 'object' || result === null || typeof (result as { then?: unknown }).then !== 'function') return result
  // Its rejection, if it has one, is of no interest.
  if (types.isPromise(result)) result.catch(() => {})
  throw new CodecMisuse(`${what} is asynchronous and returned a promise: a codec needs its result at once`)
}

/** Makes a codec that checks the values of another one. */
export function checkedCodec(codec: Codec<unknown>, check: Check): Codec<unknown> {
  const { upcast } = check
  return {
    encode(value) {
      checked(check, value)
      return codec.encode(value)
    },
    decode(bytes) {
      const stored = codec.decode(bytes)
      return checked(check, upcast === undefined ? stored : atOnce(upcast(stored), 'options.codec.upcast'))
    },
  }
}

/** Describes the first issue. Never throws, whatever the schema returned. */
function textOf(issues: readonly SchemaIssue[]): string {
  try {
    if (issues.length === 0) return 'the schema refuses the value'
    const [{ message, path = [] }] = issues
    const keys = path.map((part) => (typeof part === 'object' ? part.key : part))
    const others = issues.length === 1 ? '' : ` (and ${issues.length - 1} more)`
    return `${pathOf(keys.map((key) => (typeof key === 'number' ? key : String(key))))}: ${message}${others}`
  } catch {
    return 'the schema refuses the value, and its issues cannot be read'
  }
}
