// Why the native module did not load, told for systems and installations that this machine does not have.

import test from 'ava'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './helpers/command.js'
import { describeLoadFailure, platformName, platforms, type LoadFailure } from '../src/native/load-failure.js'

const here: LoadFailure = {
  platform: 'linux',
  arch: 'x64',
  libc: { name: 'glibc', version: '2.31' },
  node: '22.13.0',
  version: '1.2.3',
  attempts: ["Cannot find module '/app/node_modules/forelog/forelog.linux-x64-gnu.node'", "Cannot find module 'forelog-linux-x64-gnu'"],
  installed: [],
  place: 'package',
  manager: 'npm',
}

const file = '/app/node_modules/forelog-linux-x64-gnu/forelog.linux-x64-gnu.node'

const told: { [situation: string]: [failure: Partial<LoadFailure>, reason: string] } = {
  'the package is missing': [
    {},
    'on linux-x64 with glibc 2.31 and Node.js 22.13.0: the package forelog-linux-x64-gnu, an optional dependency, is not installed: run `npm install --include=optional` on this system, or, if a lock file leaves it out, `npm install --no-save forelog-linux-x64-gnu@1.2.3`. Tried:',
  ],
  'the package is missing, and pnpm installs': [
    { manager: 'pnpm' },
    'is not installed: run `pnpm install` without --no-optional on this system.',
  ],
  'Yarn does not let the package through': [
    { manager: 'yarn', attempts: ['Your application tried to access forelog-linux-x64-gnu, but it is not declared in your dependencies'] },
    'is not installed: run `yarn install` without --ignore-optional on this system.',
  ],
  'node_modules was copied from macOS': [
    { installed: ['darwin-arm64'] },
    'the package forelog-linux-x64-gnu is not installed, but forelog-darwin-arm64 is, so that this was installed on another platform: remove node_modules and run `npm install --include=optional` on this system.',
  ],
  'node_modules was copied from Debian to Alpine': [
    { libc: { name: 'musl', version: '1.2.5' }, installed: ['linux-x64-gnu'], attempts: ["Cannot find module 'forelog-linux-x64-musl'"] },
    'on linux-x64 with musl 1.2.5 and Node.js 22.13.0: the package forelog-linux-x64-musl is not installed, but forelog-linux-x64-gnu is',
  ],
  'glibc is too old': [
    { attempts: [`/lib/x86_64-linux-gnu/libc.so.6: version \`GLIBC_2.34' not found (required by ${file})`] },
    'the binary needs glibc 2.34, and this system has 2.31: use a newer system, or compile it on this system, with `npm run build` in a checkout.',
  ],
  'libstdc++ is too old': [
    { attempts: [`/lib/libstdc++.so.6: version \`GLIBCXX_3.4.30' not found (required by ${file})`] },
    'the binary needs libstdc++ 3.4.30, and this system has an older one: ',
  ],
  'the binary is for musl': [
    { attempts: ['libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory'] },
    'the binary is for musl, and this system has glibc: remove node_modules',
  ],
  'the binary is for glibc': [
    {
      libc: { name: 'musl' },
      attempts: [`Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by ${file})`],
    },
    'the binary is for glibc, and this system has musl: remove node_modules',
  ],
  'the file is for another processor': [
    { attempts: [`${file}: cannot open shared object file: No such file or directory`], otherArch: { file, arch: 'arm64' } },
    `the binary ${file} is for arm64, and this Node.js is for x64: remove node_modules`,
  ],
  'the binary of macOS is for another processor': [
    {
      platform: 'darwin',
      arch: 'arm64',
      libc: undefined,
      attempts: ["dlopen(…): (mach-o file, but is an incompatible architecture (have 'x86_64'))"],
    },
    'on darwin-arm64 and Node.js 22.13.0: the binary is for another processor than this Node.js, which is for arm64: ',
  ],
  'the file is truncated': [
    { attempts: [`${file}: the file is truncated: it has 100 of 2000 bytes`] },
    'the binary is truncated: remove node_modules and run `npm install --include=optional` on this system.',
  ],
  'the platform has no package': [
    { platform: 'freebsd', libc: undefined, attempts: ['Unsupported OS: freebsd, architecture: x64'] },
    'there is no binary for freebsd-x64: compile it on this system, with `npm run build` in a checkout.',
  ],
  'the processor has no package': [{ arch: 'riscv64' }, 'there is no binary for linux-riscv64-gnu: '],
  'addons are disabled': [
    { attempts: ['Cannot load native addon because loading addons is disabled.'] },
    'Node.js was told to load no addons: start node without --no-addons, or, with its permission model, add --allow-addons.',
  ],
  'a variable names another file': [
    { override: '/tmp/other.node', attempts: ["Cannot find module '/tmp/other.node'"] },
    "the variable NAPI_RS_NATIVE_LIBRARY_PATH names /tmp/other.node, which is loaded in place of the package's own: unset it, or correct it.",
  ],
  'nothing is built in a checkout': [{ place: 'checkout' }, 'the binary is not built: run `npm run build`.'],
  'a bundler has moved the code': [
    { place: 'bundle' },
    'a bundler has moved the code out of the package forelog, away from its binary: mark forelog as external, and install it where the bundle runs.',
  ],
  'the module is of another package': [
    { attempts: ['the module that was loaded is not of this package'] },
    'a native module of another package was loaded: remove node_modules',
  ],
  'nobody knows why': [
    { attempts: [`${file}: undefined symbol: napi_x`] },
    'the binary is there, and does not load: remove node_modules and run ',
  ],
}

for (const [situation, [failure, reason]] of Object.entries(told)) {
  test(`${situation}: the message names the system, the reason and the command that mends it`, (t) => {
    const all = { ...here, ...failure }
    const message = describeLoadFailure(all)
    t.true(message.includes(reason), message)
    t.true(message.startsWith(`the native module of forelog did not load on ${all.platform}-${all.arch}`), message)
    t.regex(message, / Node\.js 22\.13\.0: /)
    for (const attempt of all.attempts) t.true(message.includes(`\n- ${attempt}`), message)
    t.notRegex(message, /bug/)
  })
}

test('the platforms of the loader are the targets that the package is built for', (t) => {
  const { napi } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { napi: { targets: string[] } }
  const systems: { [name: string]: string } = { darwin: 'darwin', windows: 'win32', linux: 'linux' }
  const names = napi.targets.map((target) => {
    const [processor, , system, library] = target.split('-')
    const arch = processor === 'aarch64' ? 'arm64' : 'x64'
    return platformName({ platform: systems[system], arch, libc: library === 'musl' ? { name: 'musl' } : undefined })
  })
  t.deepEqual([...names].sort(), [...platforms].sort())
})
