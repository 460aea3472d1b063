// A registry of npm on the loopback interface. It serves tarballs, and what a package needs of the packages that are installed here.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { command, root } from './command.js'

interface Manifest {
  name: string
  version: string
}

interface Published {
  manifest: Manifest
  /** `undefined` for a package of which only the description is known. */
  tarball: Buffer | undefined
}

/** Reads a tarball and the manifest in it. */
async function published(file: string): Promise<Published> {
  const { stdout } = await command('tar', ['-xzOf', file, '--wildcards', '*/package.json', '--exclude=*/*/package.json'])
  return { manifest: JSON.parse(String(stdout)) as Manifest, tarball: readFileSync(file) }
}

/** The folders in which a package is installed here, in one version each. */
function installed(name: string): string[] {
  const lock = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')) as { packages: object }
  const places = Object.keys(lock.packages).filter((place) => place.endsWith(`node_modules/${name}`))
  return places.map((place) => path.join(root, place)).filter((folder) => existsSync(folder))
}

/** Starts a registry with the tarballs of a folder. Other packages are packed from `node_modules`, or have only the description in `npm/`. */
export async function startRegistry(folder: string): Promise<{ url: string; stop: () => void }> {
  const packages = new Map<string, Published[]>()
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.tgz'))) {
    const one = await published(path.join(folder, name))
    packages.set(one.manifest.name, [one])
  }
  for (const name of readdirSync(path.join(root, 'npm'))) {
    const manifest = JSON.parse(readFileSync(path.join(root, 'npm', name, 'package.json'), 'utf8')) as Manifest
    if (!packages.has(manifest.name)) packages.set(manifest.name, [{ manifest, tarball: undefined }])
  }

  async function packInstalled(name: string): Promise<Published[]> {
    const all = new Map<string, Published>()
    for (const [number, from] of installed(name).entries()) {
      const file = path.join(folder, `${name.replaceAll('/', '-')}-${number}.tar.gz`)
      const args = ['-czf', file, '--exclude=./node_modules', '--transform', 's,^\\.,package,', '-C', from, '.']
      const { code, stderr } = await command('tar', args)
      if (code !== 0) throw new Error(stderr)
      const one = await published(file)
      all.set(one.manifest.version, one)
    }
    packages.set(name, [...all.values()])
    return [...all.values()]
  }

  const server = createServer((request, response) => {
    void (async () => {
      const { port } = server.address() as AddressInfo
      const [name, asked] = decodeURIComponent(request.url ?? '')
        .slice(1)
        .split('/-/')
      const all = packages.get(name) ?? (await packInstalled(name))
      if (asked !== undefined) {
        const tarball = all.find(({ manifest }) => asked === `${manifest.version}.tgz`)?.tarball
        return tarball === undefined ? response.writeHead(404).end() : response.end(tarball)
      }
      if (all.length === 0) return response.writeHead(404).end('{}')
      const versions = all.map(({ manifest, tarball = '' }) => {
        const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
        const dist = { tarball: `http://127.0.0.1:${port}/${name}/-/${manifest.version}.tgz`, integrity }
        return [manifest.version, { ...manifest, dist }]
      })
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ name, 'dist-tags': { latest: versions[0][0] }, versions: Object.fromEntries(versions) }))
    })().catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, stop: () => server.close() }
}
