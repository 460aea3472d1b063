// `npm run check -- platforms`: clippy over the engine, its tests and the binding for macOS and Windows. Nothing is linked or run,
// so no compiler for C and no SDK of the platform is needed. A target that is not installed is fetched by rustup. If that fails, its check
// is skipped, and the reason is printed.

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root, run } from './lib.mjs'

const targets = ['x86_64-apple-darwin', 'aarch64-apple-darwin', 'x86_64-pc-windows-msvc', 'aarch64-pc-windows-msvc']

// A build folder of its own: the environment of a target must not invalidate the usual builds.
const folder = path.join(root, 'target', 'platforms')

/** Whether cargo can compile for a target: a reason not to, or nothing. */
function missing(target) {
  const rustup = (...args) => spawnSync('rustup', args, { cwd: root, encoding: 'utf8', timeout: 120_000 })
  const { error, stdout } = rustup('target', 'list', '--installed')
  if (error) return 'rustup is not installed'
  if (stdout.split(/\s+/).includes(target)) return undefined
  const { status, stderr } = rustup('target', 'add', target)
  return status === 0 ? undefined : `rustup cannot add the target: ${stderr?.trim().split('\n').pop() || 'no answer'}`
}

/**
 * Stands in for the archiver of C objects. The build script of zstd only looks whether its archive exists, and a check never opens it. The
 * compiler needs no stand-in but `true`.
 */
function archiver() {
  const file = path.join(folder, 'ar')
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, '#!/bin/sh\nfor argument; do case $argument in *.a | *.lib) : >"${argument#*[oO][uU][tT]:}" ;; esac; done\n')
  chmodSync(file, 0o755)
  return file
}

function environment() {
  const archive = archiver()
  const tools = targets.flatMap((target) => {
    const name = target.replaceAll('-', '_')
    return Object.entries({ CC: 'true', CXX: 'true', AR: archive }).map(([tool, program]) => [`${tool}_${name}`, program])
  })
  // The build scripts ask for the folder of the SDK, and nothing looks into it.
  return { ...process.env, ...Object.fromEntries(tools), SDKROOT: '/', CARGO_TARGET_DIR: folder }
}

const found = targets.filter((target) => {
  const reason = process.platform === 'win32' ? 'the stand-ins for C tools are shell scripts' : missing(target)
  if (reason !== undefined) console.log(`SKIP clippy for ${target}: ${reason}`)
  return reason === undefined
})

if (found.length > 0) {
  const args = ['clippy', '-p', 'forelog', '-p', 'forelog-node', '--all-targets', ...found.flatMap((target) => ['--target', target])]
  const command = ['cargo', [...args, '--', '-D', 'warnings'], { env: environment() }]
  process.exitCode = await run(command, (data) => process.stdout.write(data))
}
