// Checks of the option `codec`.

import { invalid, mustBe, whileReading } from '../errors.js'
import type { Codec } from '../records/codec.js'
import type { Check } from '../records/schema.js'
import type { NamedCodec } from '../records/values.js'
import type { Fields } from './check.js'

const schemaNames = ['name', 'format', 'schema', 'upcast']

/** Version of Standard Schema. */
const SCHEMA_VERSION = 1

export function checkCodec(value: unknown): NamedCodec | undefined {
  if (value === undefined) return undefined
  try {
    const codec = plainCodec(value, 'options.codec')
    if (codec !== undefined) return codec
    if (typeof value === 'object' && value !== null && (value as Fields).schema !== undefined) return schemaCodec(value as Fields)
  } catch (error) {
    throw whileReading('options.codec', 'open', error)
  }
  throw mustBe('options.codec', "'json', 'msgpack', an object { encode, decode, name?: string } or an object { schema }", value, 'open')
}

/** Returns a codec without a schema; `undefined` for anything else. */
function plainCodec(value: unknown, what: string): NamedCodec | undefined {
  if (value === 'json' || value === 'msgpack') return { codec: value, name: value }
  // Schemas of ArkType are functions. Those of Zod have functions `encode` and `decode`, which know nothing of bytes.
  if (isObject(value) && (value as Fields)['~standard'] !== undefined) {
    throw invalid(`${what} is a schema: pass it as options.codec.schema, like { codec: { schema } }`, 'open')
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { encode, decode, name } = value as Fields
  if (typeof encode !== 'function' || typeof decode !== 'function') return undefined
  return { codec: value as Codec<unknown>, name: nameOf(name, `${what}.name`) }
}

function nameOf(name: unknown, what: string): string | undefined {
  if (name === undefined || typeof name === 'string') return name
  throw mustBe(what, 'a string', name, 'open')
}

function schemaCodec(value: Fields): NamedCodec {
  for (const name of Object.keys(value)) {
    if (!schemaNames.includes(name)) {
      throw invalid(`options.codec.${name} is not a field of a codec with a schema; the fields are ${schemaNames.join(', ')}`, 'open')
    }
  }
  const { name, format = 'json', schema, upcast } = value
  const named = plainCodec(format, 'options.codec.format')
  if (named === undefined) {
    throw mustBe('options.codec.format', "'json', 'msgpack' or an object { encode, decode, name?: string }", format, 'open')
  }
  if (upcast !== undefined && typeof upcast !== 'function') throw mustBe('options.codec.upcast', 'a function', upcast, 'open')
  const check: Check = { validate: validator(schema), upcast: upcast && ((stored) => Reflect.apply(upcast, value, [stored]) as unknown) }
  return { codec: named.codec, name: nameOf(name, 'options.codec.name') ?? named.name, check }
}

/** Returns the function that checks values by a schema. */
function validator(schema: unknown): Check['validate'] {
  const standard = isObject(schema) ? (schema as Fields)['~standard'] : undefined
  if (!isObject(standard)) {
    throw mustBe('options.codec.schema', 'a Standard Schema, such as one of Zod, Valibot or ArkType', schema, 'open')
  }
  const { version, validate } = standard as Fields
  if (version !== SCHEMA_VERSION) throw mustBe("options.codec.schema['~standard'].version", String(SCHEMA_VERSION), version, 'open')
  if (typeof validate !== 'function') throw mustBe("options.codec.schema['~standard'].validate", 'a function', validate, 'open')
  return (value) => Reflect.apply(validate, standard, [value]) as unknown
}

const isObject = (value: unknown): value is object => (typeof value === 'object' && value !== null) || typeof value === 'function'
