/** Programs that tests start as processes of their own: compiled once, and not by each of them as it starts. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '..')

/** Compiles a program of this folder, beside the built agent and trainer. Gives its file, which is there until this process ends. */
export async function compiled(name: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'pawl-child-'))
  process.once('exit', () => { rmSync(folder, { recursive: true, force: true }) })
  const outfile = join(folder, `${name}.mjs`)
  await build({
    entryPoints: [join(import.meta.dirname, `${name}.ts`)], outfile, bundle: true, format: 'esm', platform: 'node', logLevel: 'warning',
    plugins: [{
      name: 'built',
      setup: building => {
        building.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
          const place = relative(root, join(resolveDir, path))
          return /^(agent|trainer)\//.test(place) ? { path: pathToFileURL(join(root, 'dist', place)).href, external: true } : null
        })
        // From where it lies, no package is found.
        building.onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
          (kind === 'entry-point' || path.startsWith('node:') ? null : { path: import.meta.resolve(path), external: true }))
      },
    }],
  })
  return outfile
}
