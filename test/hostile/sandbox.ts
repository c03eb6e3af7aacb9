/** A box's surroundings, with what must not be touched in them. */
import { createHash } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'

export class Sandbox {
  /** The only places that the box may write to, and those that the suite writes to itself. */
  private static readonly free: readonly string[] = ['data', 'broker', 'watched', 'pawl.yaml']
  readonly cwd: string
  readonly outside: string
  readonly environment: Record<string, string>
  private readonly folder: string

  /** `environment`: what the box is told besides. */
  static async in(folder: string, environment: Record<string, string>): Promise<Sandbox> {
    const sandbox = new Sandbox(folder, environment)
    for (const place of ['home', 'tmp', 'cwd', 'outside/folder']) await mkdir(join(folder, place), { recursive: true })
    // Unreadable, half-written, a model: whatever follows a link would put it aside, or clear it away.
    for (const name of ['canary.png', 'folder/canary.0a1b2c3d.tmp', 'folder/model.onnx', 'canary']) await writeFile(join(sandbox.outside, name), 'not to be touched')
    return sandbox
  }

  private constructor(folder: string, environment: Record<string, string>) {
    this.folder = folder
    this.cwd = join(folder, 'cwd')
    this.outside = join(folder, 'outside')
    const at = (name: string) => join(folder, name)
    this.environment = { HOME: at('home'), TMPDIR: at('tmp'), XDG_CACHE_HOME: at('home/cache'), XDG_CONFIG_HOME: at('home/config'), XDG_RUNTIME_DIR: at('tmp'), CI: '', ...environment }
  }

  /** All that lies around the box, and what it is, by its path. */
  async look(): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>()
    const into = async (folder: string): Promise<void> => {
      // As bytes: not every name is UTF-8.
      for (const name of await readdir(Buffer.from(folder, 'latin1'), { encoding: 'latin1' })) {
        const path = join(folder, name)
        const own = relative(this.folder, path)
        if (Sandbox.free.includes(own)) continue
        const bytes = Buffer.from(path, 'latin1')
        const kind = await lstat(bytes)
        const what = kind.isSymbolicLink() ? `link to ${await readlink(bytes)}` : kind.isFile() ? createHash('sha256').update(await readFile(bytes)).digest('hex') : String(kind.mode)
        found.set(own, what)
        if (kind.isDirectory()) await into(path)
      }
    }
    await into(this.folder)
    return found
  }
}

/** What differs between two looks. */
export function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [
    ...[...after].filter(([path]) => !before.has(path)).map(([path]) => `${path} was made outside the data folder`),
    ...[...before].filter(([path]) => !after.has(path)).map(([path]) => `${path}, outside the data folder, is gone`),
    ...[...before].filter(([path, what]) => after.has(path) && after.get(path) !== what).map(([path]) => `${path}, outside the data folder, was changed`),
  ]
}
