/**
 * `npm run licenses`: writes LICENSES.md, the licences of all that is installed to run pawl, from the lock file.
 * Errors: a package whose licence is not one of `allowed`, by name.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { groupBy } from '../agent/lib/group.js'

/** A package as package-lock.json (lockfileVersion 3) lists it, by its folder. */
export interface LockedPackage {
  version: string
  license?: string
  /** Installed for development alone. */
  dev?: boolean
  /** Goes without where it cannot be installed: another processor or system, or a GPU's library that is not there. */
  optional?: boolean
  hasInstallScript?: boolean
  integrity?: string
  resolved?: string
}

/** What may be shipped with a product, as long as its notices go along; LGPL for libraries that are linked at run time and can be replaced. */
const allowed = [
  'MIT', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', 'LGPL-3.0-or-later', 'Apache-2.0 AND MIT', 'Apache-2.0 AND BSD-3-Clause',
  'BSD-3-Clause AND Apache-2.0', 'MIT OR CC0-1.0', 'Apache-2.0 AND LGPL-3.0-or-later', 'Apache-2.0 AND LGPL-3.0-or-later AND MIT',
]

/** Code that is no package of its own, inside packages that are, and data. */
const inside = [
  ['onnxruntime-node', 'ONNX Runtime, with Dawn (BSD-3-Clause) for WebGPU, Eigen (MPL-2.0), protobuf, abseil, FlatBuffers, oneDNN and what else the ThirdPartyNotices.txt of its repository names', 'MIT, and those'],
  ['@img/sharp-libvips-*', 'one shared library, which may be replaced: libvips, GLib, Pango, librsvg, libheif, libexif, FriBidi, proxy-libintl', 'LGPL-3.0-or-later'],
  ['', 'in the same library: Cairo', 'MPL-1.1'],
  ['', 'and aom (with the AOM patent licence), fontconfig, FreeType, HarfBuzz, mozjpeg, libpng, libtiff, libwebp, zlib-ng and what else its README names', 'BSD, MIT, zlib and the like'],
  ['@img/sharp-win32-*, sharp-wasm32', 'the same libraries within them', 'LGPL-3.0-or-later, and those'],
  ['@tensorflow/tfjs-node-gpu', 'libtensorflow 2.9.1, which its install script fetches, with what its THIRD_PARTY_TF_C_LICENSES names', 'Apache-2.0, and those'],
  ['dist/agent (the pages)', 'Preact and Hono\'s client, which `npm run build` takes in', 'MIT'],
  ['fixtures/fashion-mnist', 'photographs of Fashion-MNIST (Zalando SE)', 'MIT, beside them'],
] as const

export async function lockedPackages(root: string): Promise<Map<string, LockedPackage>> {
  const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, LockedPackage> }
  return new Map(Object.entries(packages).filter(([folder]) => folder !== ''))
}

/** What LICENSES.md says of these packages. Errors: those of a licence that is not allowed. */
export function licensesOf(packages: ReadonlyMap<string, LockedPackage>): string {
  const shipped = [...packages].filter(([, { dev }]) => !dev)
  const refused = shipped.filter(([, { license }]) => !allowed.includes(plain(license))).map(([folder, { license }]) => `${nameOf(folder)} (${license ?? 'none'})`)
  if (refused.length) throw new Error(`no licence that may be shipped: ${refused.join(', ')}; take another package, or add the licence to deploy/licenses.ts once somebody has read it`)
  const byLicense = groupBy(shipped, ([, { license }]) => plain(license))
  const rows = [...byLicense].sort(([a], [b]) => (a < b ? -1 : 1)).map(([license, found]) => {
    const names = new Set(found.map(([folder, { version, optional }]) => `${nameOf(folder)} ${version}${optional ? '°' : ''}`))
    return `| ${license} | ${[...names].sort().join(', ')} |`
  })
  return [
    '# Licences', '',
    'What `npm ci --omit=dev --ignore-scripts` installs beside pawl (MIT), by licence. `npm run licenses` writes this file from the lock file, a test compares',
    'them. Most packages bring the text of their licence along, in `node_modules`; the others name it in their `package.json`, and it lies in their repository.',
    '° marks what is optional: installed where it fits processor and system, or can be had.', '',
    '| licence | packages |', '| --- | --- |', ...rows, '',
    '## Inside them', '',
    '| in | is | licence |', '| --- | --- | --- |', ...inside.map(row => `| ${row.join(' | ')} |`), '',
    'Node.js, ffmpeg and mosquitto are the system\'s own: they run as programs of their own, and nothing of them is in here.', '',
  ].join('\n')
}

/** Of a package, by its folder. */
export function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length)
}

function plain(license = ''): string {
  return license.replace(/^\((.*)\)$/, '$1')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await writeFile(join(import.meta.dirname, 'LICENSES.md'), licensesOf(await lockedPackages(join(import.meta.dirname, '..'))))
}
