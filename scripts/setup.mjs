// `npm run setup`: installs and builds what is missing or out of date.

import { setup } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

requireToolchain()
await setup()
