/** The client of a registry, against Debian's and against hostile ones. */
import { execFile } from 'node:child_process'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { digestOf, manifestType, Repository, type Descriptor, type RepositoryOptions } from '../../agent/exchange/repository.js'
import { account, OciRegistry } from '../site/oci-registry.js'

let folder = ''
let plain: OciRegistry
let closed: OciRegistry
const servers: Server[] = []
const { signal } = new AbortController()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-repository-'))
  plain = await OciRegistry.in(join(folder, 'plain'))
  closed = await OciRegistry.in(join(folder, 'closed'), { asks: true, tls: true })
})
afterEach(() => { for (const server of servers.splice(0)) server.close().closeAllConnections() })
afterAll(async () => {
  await Promise.all([plain, closed].map(registry => registry.stop()))
  await rm(folder, { recursive: true, force: true })
})

function repository(registry: string, changes: Partial<RepositoryOptions> = {}): Repository {
  return new Repository({ registry, repository: 'pawl/models', username: '', password: () => Promise.resolve(''), ca: () => Promise.resolve(null), ...changes })
}

const withAccount = (changes: Partial<RepositoryOptions> = {}) => ({
  username: account.username, password: () => Promise.resolve(account.password), ca: () => readFile(closed.ca), ...changes,
})

const described = (bytes: Uint8Array): Descriptor => ({ mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytes.length })

/** A registry that does as it likes; gives its URL. */
async function hostile(listener: RequestListener, tls?: { cert: Buffer; key: Buffer }): Promise<string> {
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  servers.push(server as Server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => { resolve() }))
  return `http${tls ? 's' : ''}://127.0.0.1:${String((server.address() as AddressInfo).port)}`
}

const closedTls = async () => ({ cert: await readFile(closed.ca), key: await readFile(join(folder, 'closed', 'registry.key')) })

async function pushed(to: Repository, bytes: Uint8Array): Promise<{ blob: Descriptor; manifest: Buffer }> {
  const blob = described(bytes)
  const file = join(folder, 'pushed')
  await writeFile(file, bytes)
  await to.push(blob, file, signal)
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config: blob, layers: [blob] }))
  await to.pushManifest(manifest, 'v1.box-1', signal)
  return { blob, manifest }
}

const refusal = (pattern: RegExp) => ({ code: 'OFFER_REFUSED', message: expect.stringMatching(pattern) as string })
const unavailable = (pattern: RegExp) => ({ code: 'EXCHANGE_UNAVAILABLE', message: expect.stringMatching(pattern) as string })

describe('a repository', () => {
  it('gives back what was put there, byte for byte, also behind a password and TLS', async () => {
    for (const to of [repository(plain.url), repository(closed.url, withAccount())]) {
      const bytes = randomBytes(300_000)
      const { blob, manifest } = await pushed(to, bytes)
      // Once more: what is there already is not sent again.
      await to.push(blob, '/nowhere', signal)
      expect(await to.manifest(digestOf(manifest), signal)).toEqual(manifest)
      const path = join(folder, 'fetched')
      await rm(path, { force: true })
      await to.pull(blob, path, signal)
      expect(bytes.equals(await readFile(path))).toBe(true)
      await to.check({ push: true }, signal)
    }
    expect(await plain.tags('pawl/models')).toEqual(['v1.box-1'])
  })

  it('says who is not let in, and tells no password without TLS', async () => {
    const wrong = repository(closed.url, withAccount({ password: () => Promise.resolve('other') }))
    await expect(wrong.check({ push: false }, signal)).rejects.toMatchObject(unavailable(/refuses "boxes"; check exchange.username and its password/))
    const nobody = repository(closed.url, withAccount({ username: '' }))
    await expect(nobody.check({ push: false }, signal)).rejects.toMatchObject(unavailable(/set exchange.username and exchange.passwordFile/))
    const stranger = repository(closed.url, withAccount({ ca: () => Promise.resolve(null) }))
    await expect(stranger.check({ push: false }, signal)).rejects.toMatchObject(unavailable(/cannot be reached: self-signed certificate/))
    const heard: IncomingMessage[] = []
    const url = await hostile((request, response) => {
      heard.push(request)
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    })
    await expect(repository(url, withAccount()).check({ push: false }, signal)).rejects.toMatchObject(unavailable(/none is sent without TLS/))
    expect(heard.map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  it('goes on with half a download, and begins anew where the registry gives no rest', async () => {
    const bytes = randomBytes(100_000)
    const { blob } = await pushed(repository(plain.url), bytes)
    const ranges: (string | undefined)[] = []
    let deaf = false
    // In front of the real one: it may pass over the range.
    const url = await hostile((request, response) => {
      ranges.push(request.headers.range)
      const { range, accept } = request.headers
      void fetch(`${plain.url}${request.url ?? ''}`, { headers: { ...!deaf && range !== undefined && { range }, ...accept !== undefined && { accept } } }).then(async answer => {
        const part = answer.headers.get('content-range')
        response.writeHead(answer.status, part === null ? {} : { 'content-range': part }).end(Buffer.from(await answer.arrayBuffer()))
      })
    })
    const path = join(folder, 'half')
    for (const each of [false, true]) {
      deaf = each
      await writeFile(path, bytes.subarray(0, 40_000))
      await repository(url).pull(blob, path, signal)
      expect(bytes.equals(await readFile(path))).toBe(true)
    }
    expect(ranges).toEqual(['bytes=40000-', 'bytes=40000-'])
    // What lies there is not what is wanted: the whole does not fit, and goes.
    await writeFile(path, randomBytes(40_000))
    deaf = false
    await expect(repository(url).pull(blob, path, signal)).rejects.toMatchObject(refusal(/gives other bytes/))
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('takes no blob and no manifest that was changed, and says what is not there', async () => {
    const { blob, manifest } = await pushed(repository(plain.url), randomBytes(5000))
    const path = join(folder, 'changed')
    const spoil = async (digest: string) => {
      const stored = await readFile(plain.blob(digest))
      stored[stored.length - 2] = (stored[stored.length - 2] ?? 0) ^ 1
      await writeFile(plain.blob(digest), stored)
    }
    await spoil(blob.digest)
    await expect(repository(plain.url).pull(blob, path, signal)).rejects.toMatchObject(refusal(/gives other bytes/))
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
    const url = await hostile((_, response) => { response.end(Buffer.concat([manifest, Buffer.from(' ')])) })
    await expect(repository(url).manifest(digestOf(manifest), signal)).rejects.toMatchObject(refusal(/gives another manifest/))
    const none = described(Buffer.from('none'))
    await expect(repository(plain.url).manifest(none.digest, signal)).rejects.toMatchObject(refusal(/does not hold sha256:/))
    await expect(repository(plain.url).pull(none, path, signal)).rejects.toMatchObject(refusal(/does not hold sha256:/))
  })

  it('reads no more of an endless answer than there should be', async () => {
    const url = await hostile((_, response) => {
      const more = () => { while (response.writable && response.write(Buffer.alloc(65_536))); }
      response.on('drain', more)
      more()
    })
    const blob = described(Buffer.alloc(100_000, 1))
    const path = join(folder, 'endless')
    await expect(repository(url).manifest(blob.digest, signal)).rejects.toMatchObject(unavailable(/longer than 65536 bytes/))
    await expect(repository(url).pull(blob, path, signal)).rejects.toMatchObject(refusal(/longer than the 100000 bytes/))
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('keeps what has arrived where the connection ends, and what it gives is an error of the way, not of the model', async () => {
    const bytes = randomBytes(50_000)
    const path = join(folder, 'cut')
    const url = await hostile((_, response) => {
      response.writeHead(200, { 'content-length': '50000' }).write(bytes.subarray(0, 20_000))
      const arrived = setInterval(() => {
        void stat(path).then(({ size }) => {
          if (size < 20_000) return
          clearInterval(arrived)
          response.destroy()
        })
      }, 10)
    })
    await expect(repository(url).pull(described(bytes), path, signal)).rejects.toMatchObject({ code: 'EXCHANGE_UNAVAILABLE' })
    expect(bytes.subarray(0, 20_000).equals(await readFile(path))).toBe(true)
  })

  it('leaves nothing on a disk that fills while a blob comes, and brings it when there is room', async context => {
    const bytes = randomBytes(2_000_000)
    const { blob } = await pushed(repository(plain.url), bytes)
    const small = join(folder, 'small')
    await mkdir(small)
    const mounted = await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]).then(() => true, () => false)
    if (!mounted) return context.skip('a file system of its own takes root')
    try {
      const path = join(small, 'weights')
      await expect(repository(plain.url).pull(blob, path, signal)).rejects.toMatchObject({ code: 'DISK_FULL' })
      expect(await readdir(small)).toEqual([])
      await promisify(execFile)('mount', ['-o', 'remount,size=3m', small])
      await repository(plain.url).pull(blob, path, signal)
      expect(bytes.equals(await readFile(path))).toBe(true)
    } finally {
      await promisify(execFile)('umount', [small])
    }
  })

  it('keeps what has arrived where the registry is out of order for a while', async () => {
    const bytes = randomBytes(50_000)
    const { blob } = await pushed(repository(plain.url), bytes)
    const path = join(folder, 'out-of-order')
    await writeFile(path, bytes.subarray(0, 40_000))
    for (const status of [500, 503, 429, 403]) {
      const url = await hostile((_, response) => { response.writeHead(status).end() })
      await expect(repository(url).pull(blob, path, signal)).rejects.toMatchObject(unavailable(new RegExp(`status ${String(status)}`)))
      expect((await stat(path)).size).toBe(40_000)
    }
    await repository(plain.url).pull(blob, path, signal)
    expect(bytes.equals(await readFile(path))).toBe(true)
  })

  it('follows a blob to another host without a name or password, and never to one without TLS', async () => {
    const bytes = randomBytes(2000)
    const asked: IncomingMessage[] = []
    const tls = await closedTls()
    const store = await hostile((request, response) => {
      asked.push(request)
      response.end(bytes)
    }, tls)
    const insecure = await hostile((request, response) => {
      asked.push(request)
      response.end(bytes)
    })
    let to = store
    const front = await hostile((request, response) => {
      if (request.headers.authorization === undefined) response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
      else response.writeHead(307, { location: `${to}/elsewhere` }).end()
    }, tls)
    const path = join(folder, 'moved')
    const pull = () => repository(front, withAccount()).pull(described(bytes), path, signal)
    await pull()
    expect(bytes.equals(await readFile(path))).toBe(true)
    to = insecure
    await rm(path)
    await expect(pull()).rejects.toMatchObject(unavailable(/which is not https; it is not followed/))
    // Back to itself: there it would want the name once more.
    to = front
    await expect(pull()).rejects.toMatchObject(unavailable(/status 401/))
    expect(asked.map(({ headers }) => headers.authorization)).toEqual([undefined])
  })

  it('asks its own host for a token, with the password, and no other', async () => {
    const tls = await closedTls()
    const heard: string[] = []
    let realm = ''
    const url = await hostile((request, response) => {
      heard.push(`${request.url ?? ''} ${request.headers.authorization ?? ''}`)
      if (request.url?.startsWith('/token')) response.end(JSON.stringify({ token: 'abc' }))
      else if (request.headers.authorization === 'Bearer abc') response.writeHead(404).end()
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="r",scope="repository:pawl/models:pull"` }).end()
    }, tls)
    realm = `${url}/token`
    await repository(url, withAccount()).check({ push: false }, signal)
    const basic = `Basic ${Buffer.from('boxes:hush').toString('base64')}`
    expect(heard.slice(1)).toEqual([
      `/token?service=r&scope=repository%3Apawl%2Fmodels%3Apull ${basic}`, '/v2/pawl/models/manifests/none Bearer abc',
    ])
    heard.length = 0
    for (const elsewhere of ['https://other.example/token', url.replace('https', 'http')]) {
      realm = elsewhere
      await expect(repository(url, withAccount()).check({ push: false }, signal)).rejects.toMatchObject(unavailable(/another host is told nothing/))
    }
    expect(heard.filter(told => told.includes(basic))).toEqual([])
  })

  it('sends no upload to another place', async () => {
    const url = await hostile((request, response) => {
      response.writeHead(request.method === 'POST' ? 202 : 404, { location: 'http://127.0.0.1:1/upload' }).end()
    })
    const bytes = Buffer.from('model')
    await expect(repository(url).push(described(bytes), bytes, signal)).rejects.toMatchObject(unavailable(/sends uploads to http:\/\/127.0.0.1:1/))
  })

  it('that is away is an error of the way', async () => {
    await expect(repository('http://127.0.0.1:1').check({ push: false }, signal)).rejects.toMatchObject(unavailable(/cannot be reached: .*ECONNREFUSED/))
  })
})
