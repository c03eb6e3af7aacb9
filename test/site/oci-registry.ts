/** A registry (Debian's docker-registry), which can be ended and started again. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { ended, hasEnded } from '../../agent/lib/child.js'
import { freePort, takesConnections } from '../free-port.js'

const program = [...process.env.PATH?.split(':') ?? [], '/usr/bin'].map(folder => join(folder, 'docker-registry')).find(path => existsSync(path)) ?? ''
if (program === '' && process.env.CI) throw new Error('docker-registry is missing; in CI these tests may not be skipped')

/** Who may use one that asks. */
export const account = { username: 'boxes', password: 'hush' }
const htpasswd = 'boxes:$2b$04$pTIJDIlDZ2wFirn8fv8wpeN/DuCDP9SrYy988EVnWZ.AVf0j4fuZW\n'

export interface OciRegistryOptions {
  /** It asks for `account`. */
  asks?: boolean
  tls?: boolean
}

export class OciRegistry {
  readonly url: string
  /** File (PEM) of its certificate; "": it has none. */
  readonly ca: string
  private readonly folder: string
  private child: ChildProcess | null = null

  private constructor(folder: string, url: string, ca: string) {
    this.folder = folder
    this.url = url
    this.ca = ca
  }

  /** In a folder of its own, on a free port of loopback; started. */
  static async in(folder: string, { asks = false, tls = false }: OciRegistryOptions = {}): Promise<OciRegistry> {
    await mkdir(folder, { recursive: true })
    const port = await freePort()
    const [cert, key, passwords] = ['registry.crt', 'registry.key', 'htpasswd'].map(name => join(folder, name)) as [string, string, string]
    if (tls) {
      await promisify(execFile)('openssl', [
        'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=registry',
        '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert,
      ])
    }
    await writeFile(passwords, htpasswd)
    await writeFile(join(folder, 'config.yml'), stringify({
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(folder, 'storage') }, delete: { enabled: true } },
      http: { addr: `127.0.0.1:${String(port)}`, secret: 'test', ...tls && { tls: { certificate: cert, key } } },
      ...asks && { auth: { htpasswd: { realm: 'registry', path: passwords } } },
    }))
    const registry = new OciRegistry(folder, `http${tls ? 's' : ''}://127.0.0.1:${String(port)}`, tls ? cert : '')
    await registry.start()
    return registry
  }

  async start(): Promise<void> {
    const child = spawn(program, ['serve', join(this.folder, 'config.yml')], { stdio: 'ignore' })
    this.child = child
    const last = () => { child.kill('SIGKILL') }
    process.once('exit', last)
    void ended(child).then(() => { process.off('exit', last) })
    for (let tries = 0; !await takesConnections(this.url); tries++) {
      if (tries > 200 || hasEnded(child)) throw new Error(`docker-registry does not start with ${this.folder}/config.yml`)
      await sleep(50)
    }
  }

  async stop(): Promise<void> {
    const { child } = this
    this.child = null
    if (!child) return
    child.kill('SIGKILL')
    await ended(child)
  }

  /** Where the bytes of a blob lie, `sha256:…`: for whoever tampers with them. */
  blob(digest: string): string {
    const hex = digest.slice('sha256:'.length)
    return join(this.folder, 'storage', 'docker', 'registry', 'v2', 'blobs', 'sha256', hex.slice(0, 2), hex, 'data')
  }

  /** Tags of a repository. */
  async tags(repository: string): Promise<string[]> {
    return (await readdir(join(this.folder, 'storage', 'docker', 'registry', 'v2', 'repositories', repository, '_manifests', 'tags')).catch(() => [])).sort()
  }
}
