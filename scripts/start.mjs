// `npm start [-- FILE]`: builds if needed, then runs the demonstration in src/demo.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { root, setup } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

requireToolchain()
await setup()

const job = spawn(process.execPath, [path.join(root, 'dist', 'demo', 'main.js'), ...process.argv.slice(2)], { stdio: 'inherit' })
// Ctrl-C reaches the job as well; it cleans up, and its exit ends this process.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => job.kill('SIGTERM'))
job.on('exit', (code) => process.exit(code ?? 1))
