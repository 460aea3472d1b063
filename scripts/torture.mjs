// `npm run torture [-- ARGUMENTS]`: builds the campaign as released code and runs it.

import { spawn } from 'node:child_process'
import { root } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

requireToolchain()
const args = ['run', '--quiet', '--profile', 'torture', '--package', 'forelog-torture', '--', ...process.argv.slice(2)]
spawn('cargo', args, { cwd: root, stdio: 'inherit' })
  .on('error', (error) => {
    console.error(error.message)
    process.exitCode = 1
  })
  .on('close', (code) => (process.exitCode = code ?? 1))
