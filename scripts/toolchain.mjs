// Checks that the machine has what an installation and a build need.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

// From these on, what is an ES module can be loaded with require().
const NODE = '20.19.0'
const NODE_22 = '22.12.0'
const RUST = '1.89.0'

const numbers = (version) => version.split('.').map((part) => Number.parseInt(part, 10) || 0)

function older(version, minimum) {
  const have = numbers(version)
  const want = numbers(minimum)
  const at = want.findIndex((part, i) => (have[i] ?? 0) !== part)
  return at !== -1 && (have[at] ?? 0) < want[at]
}

/**
 * The lines to show for versions found; none when all is well. A tool that is missing or does not
 * start is `undefined`.
 */
export function complaints({ node, cargo, rustc, linker }) {
  const lines = []
  if (older(node, NODE) || (!older(node, '21.0.0') && older(node, NODE_22))) {
    lines.push(`Node.js ${NODE}, or ${NODE_22} or newer, is needed, this is ${node}: see https://nodejs.org`)
  }
  if (cargo === undefined || rustc === undefined) {
    const missing = cargo === undefined ? 'cargo' : 'rustc'
    lines.push(`Rust ${RUST} or newer is needed, ${missing} was not found: install it from https://rustup.rs`)
  } else if (older(cargo, RUST) || older(rustc, RUST)) {
    const found = older(cargo, RUST) ? `cargo ${cargo}` : `rustc ${rustc}`
    lines.push(`Rust ${RUST} or newer is needed, ${found} is too old: run \`rustup update\`, or install from https://rustup.rs`)
  }
  if (linker === undefined) {
    lines.push('A C linker is needed, cc was not found: install gcc or clang (macOS: xcode-select --install)')
  }
  return lines
}

function version(command) {
  const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
  return status === 0 ? (/(\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? '0.0.0') : undefined
}

// A shell opened before rustup was installed does not have its directory on the path yet.
function addCargoHome() {
  const bin = path.join(process.env.CARGO_HOME ?? path.join(os.homedir(), '.cargo'), 'bin')
  if (existsSync(bin)) process.env.PATH = `${process.env.PATH}${path.delimiter}${bin}`
}

/** Ends the process with two or three lines on stderr if something is missing. */
export function requireToolchain() {
  addCargoHome()
  const found = {
    node: process.versions.node,
    cargo: version('cargo'),
    rustc: version('rustc'),
    // On Windows rustc finds the linker by itself, in the registry.
    linker: process.platform === 'win32' ? 'link' : version('cc'),
  }
  const lines = complaints(found)
  if (lines.length === 0) return
  console.error(['forelog cannot be built here; nothing was installed.', ...lines].join('\n'))
  process.exit(1)
}
