// `npm run build`: the native module in release mode, then the TypeScript.

import { build } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

requireToolchain()
await build()
