/** What is installed with pawl: pinned, licensed, and without programs that run as it is installed. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { licensesOf, lockedPackages, nameOf } from '../../deploy/licenses.js'

const root = join(import.meta.dirname, '..', '..')
const packages = await lockedPackages(root)
const own = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Record<'dependencies' | 'devDependencies' | 'optionalDependencies', Record<string, string>> & {
  allowScripts: Record<string, boolean>
}

interface Component { name: string; version: string; hashes?: { alg: string; content: string }[]; licenses?: unknown[] }

describe('packages', () => {
  it('are pinned: each by its version here, and by the hash of its bytes in the lock file, none from elsewhere than the registry', () => {
    const wanted = Object.entries({ ...own.dependencies, ...own.devDependencies, ...own.optionalDependencies })
    expect(wanted.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
    const loose = [...packages].filter(([, { integrity = '', resolved = '' }]) => !integrity.startsWith('sha512-') || /^(git|file|http:)/.test(resolved))
    expect(loose.map(([folder]) => folder)).toEqual([])
  })

  it('run nothing as they are installed, but the one that fetches libtensorflow for a GPU', async () => {
    const scripted = new Set([...packages].filter(([, { hasInstallScript }]) => hasInstallScript).map(([folder]) => nameOf(folder)))
    expect([...scripted].sort(), 'each has its word in allowScripts').toEqual(Object.keys(own.allowScripts).sort())
    expect(Object.keys(own.allowScripts).filter(name => own.allowScripts[name])).toEqual(['@tensorflow/tfjs-node-gpu'])
    const security = await readFile(join(root, 'deploy', 'SECURITY.md'), 'utf8')
    expect([...scripted].filter(name => !security.includes(`| \`${name}\` |`)), 'each with its reason').toEqual([])
  })

  it('have licences that may be shipped, and LICENSES.md names each', async () => {
    expect(await readFile(join(root, 'deploy', 'LICENSES.md'), 'utf8'), 'written by npm run licenses').toBe(licensesOf(packages))
    const sold = new Map([...packages, ['node_modules/for-sale', { version: '1.0.0', license: 'SEE LICENSE IN eula.txt' }], ['node_modules/untold', { version: '1.0.0' }]])
    expect(() => licensesOf(sold)).toThrow(/for-sale \(SEE LICENSE IN eula.txt\), untold \(none\); take another package/)
  })

  it('are all in the bill of materials (CycloneDX), with version, licence and hash; two bills differ in their number and time alone', async () => {
    const bill = async () => {
      const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'sbom'], { cwd: root, maxBuffer: 2 ** 26 })
      return JSON.parse(stdout) as { bomFormat: string; serialNumber?: string; metadata: { timestamp?: string }; components: Component[] }
    }
    const [first, second] = await Promise.all([bill(), bill()])
    for (const each of [first, second]) [each.serialNumber, each.metadata.timestamp] = ['', '']
    expect(second).toEqual(first)
    expect(first.bomFormat).toBe('CycloneDX')
    const named = new Map(first.components.map(component => [`${component.name} ${component.version}`, component]))
    for (const [folder, { version, dev, integrity = '' }] of packages) {
      const component = named.get(`${nameOf(folder)} ${version}`)
      expect(component?.hashes, folder).toEqual([{ alg: 'SHA-512', content: Buffer.from(integrity.slice('sha512-'.length), 'base64').toString('hex') }])
      // npm takes no licence over that has no name in SPDX's list: nothing of what is shipped has such.
      if (!dev) expect(component?.licenses, folder).toHaveLength(1)
    }
  })
})
