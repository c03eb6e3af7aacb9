/** One repository of an OCI registry (OCI Distribution Specification 1.1): blobs and manifests, by their digests. */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { IncomingMessage } from 'node:http'
import { PawlError } from '../errors.js'
import { isFull } from '../lib/durable.js'
import { away, discarded, messageOf, readBounded, Requests, type RegistryAccess } from './requests.js'

export interface RepositoryOptions extends RegistryAccess {
  /** Its name, as `pawl/models`. */
  repository: string
}

/** What a blob is known by (OCI Image Specification 1.1, descriptor). */
export interface Descriptor {
  mediaType: string
  /** `sha256:` and 64 hexadecimal digits. */
  digest: string
  /** Bytes. */
  size: number
}

export const manifestType = 'application/vnd.oci.image.manifest.v1+json'
/** Bytes of a manifest: of a model it has less than two thousand. */
export const mostManifestBytes = 65_536
/** For a blob, however thin the line: what has come by then is gone on with, and what was to go is sent from its beginning. */
const blobMs = 3_600_000

export class Repository {
  private readonly requests: Requests
  private readonly base: string
  private readonly where: string

  constructor({ repository, ...access }: RepositoryOptions) {
    this.requests = new Requests(access)
    this.base = `/v2/${repository}`
    this.where = `${access.registry.replace(/\/+$/, '')}/${repository}`
  }

  /** Puts a blob there, unless it is there. Errors: EXCHANGE_UNAVAILABLE. */
  async push({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, content: string | Uint8Array, signal: AbortSignal): Promise<void> {
    if (await this.has(`${this.base}/blobs/${digest}`, signal)) return
    const url = await this.beginUpload(signal)
    url.searchParams.set('digest', digest)
    const opened = () => (typeof content === 'string' ? createReadStream(content) : Readable.from([content]))
    const put = await this.requests.send({
      method: 'PUT', path: url.href, headers: { 'content-type': 'application/octet-stream' }, body: { size, open: opened }, withinMs: blobMs, signal,
    })
    await this.expect(put, [201], 'take a blob')
  }

  /** Puts a manifest there under a tag as well, and looks that it is there. Errors: EXCHANGE_UNAVAILABLE. */
  async pushManifest(manifest: Uint8Array, tag: string, signal: AbortSignal): Promise<void> {
    const put = await this.requests.send({
      method: 'PUT', path: `${this.base}/manifests/${tag}`, headers: { 'content-type': manifestType },
      body: { size: manifest.length, open: () => Readable.from([manifest]) }, signal,
    })
    await this.expect(put, [201], 'take a manifest')
    const digest = digestOf(manifest)
    if (!await this.has(`${this.base}/manifests/${digest}`, signal)) throw away(`${this.where} took ${tag}, and has no ${digest} all the same`)
  }

  /** The bytes that have this digest. Errors: EXCHANGE_UNAVAILABLE; OFFER_REFUSED where there is none, or others are given. */
  async manifest(digest: string, signal: AbortSignal): Promise<Buffer> {
    const answer = await this.requests.send({ method: 'GET', path: `${this.base}/manifests/${digest}`, headers: { accept: manifestType }, mayMove: true, signal })
    await this.expectThere(answer, digest)
    const bytes = await readBounded(answer, mostManifestBytes)
    if (digestOf(bytes) !== digest) throw refused(`${this.where} gives another manifest for ${digest}`)
    return bytes
  }

  /**
   * Brings a blob into a file, synced. What was left there by a try before is gone on with where the registry allows it (RFC 9110, 14.2). Errors:
   * EXCHANGE_UNAVAILABLE, and what has arrived stays; OFFER_REFUSED for other bytes than the descriptor says, DISK_FULL: then nothing does.
   */
  async pull(descriptor: Descriptor, path: string, signal: AbortSignal): Promise<void> {
    const file = await open(path, 'a+')
    try {
      await this.fill(file, descriptor, signal)
      await file.sync()
    } catch (cause) {
      const full = isFull(cause)
      if (full || (cause instanceof PawlError && cause.code === 'OFFER_REFUSED')) await rm(path, { force: true })
      if (full) throw new PawlError('DISK_FULL', `${path}: the disk is full; what had arrived is removed`, { cause })
      throw cause
    } finally {
      await file.close()
    }
  }

  /** Whether what this box is to do there is allowed to it. Errors: EXCHANGE_UNAVAILABLE. */
  async check({ push }: { push: boolean }, signal: AbortSignal): Promise<void> {
    await this.has(`${this.base}/manifests/none`, signal)
    if (!push) return
    const upload = await this.beginUpload(signal)
    await discarded(await this.requests.send({ method: 'DELETE', path: upload.href, signal }))
  }

  private async fill(file: FileHandle, { digest, size }: Descriptor, signal: AbortSignal): Promise<void> {
    let { hash, bytes } = await hashOfPart(file, size)
    if (bytes < size || bytes === 0) {
      const answer = await this.requests.send({
        method: 'GET', path: `${this.base}/blobs/${digest}`, headers: bytes > 0 ? { range: `bytes=${String(bytes)}-` } : {}, mayMove: true, withinMs: blobMs, signal,
      })
      const goesOn = answer.statusCode === 206 && (answer.headers['content-range'] ?? '').startsWith(`bytes ${String(bytes)}-`)
      if (!goesOn) {
        // Another part than the one that was asked for, or none.
        if (answer.statusCode === 416 || answer.statusCode === 206) {
          answer.destroy()
          await file.truncate(0)
          throw away(`${this.where} has no rest of ${digest}; it is fetched from its beginning`)
        }
        await this.expectThere(answer, digest)
        // All of it.
        await file.truncate(0);
        ({ hash, bytes } = { hash: createHash('sha256'), bytes: 0 })
      }
      bytes = await written(answer, { file, hash, bytes, size, signal })
    }
    if (bytes < size) throw away(`${this.where}: ${digest} ended after ${String(bytes)} of ${String(size)} bytes`)
    if (`sha256:${hash.digest('hex')}` !== digest) throw refused(`${this.where} gives other bytes for ${digest}`)
  }

  private async beginUpload(signal: AbortSignal): Promise<URL> {
    const begun = await this.requests.send({ method: 'POST', path: `${this.base}/blobs/uploads/`, signal })
    await this.expect(begun, [202], 'let this box upload')
    return this.requests.own(begun.headers.location ?? '')
  }

  private async has(path: string, signal: AbortSignal): Promise<boolean> {
    const answer = await this.requests.send({ method: 'HEAD', path, headers: path.includes('/manifests/') ? { accept: manifestType } : {}, mayMove: true, signal })
    await this.expect(answer, [200, 404], 'say what it holds')
    return answer.statusCode === 200
  }

  private async expectThere(answer: IncomingMessage, digest: string): Promise<void> {
    if (answer.statusCode === 200) return
    if (answer.statusCode === 404) {
      await discarded(answer)
      throw refused(`${this.where} does not hold ${digest}`)
    }
    await this.expect(answer, [200], `give ${digest}`)
  }

  /** Reads the rest of an answer that says nothing but its status. Errors: EXCHANGE_UNAVAILABLE for any other status. */
  private async expect(answer: IncomingMessage, statuses: readonly number[], what: string): Promise<void> {
    const text = await readBounded(answer, mostManifestBytes).catch(() => Buffer.alloc(0))
    if (statuses.includes(answer.statusCode ?? 0)) return
    const told = text.toString('utf8', 0, 200).replaceAll(/[^\x20-\x7e]+/g, ' ').trim()
    throw away(`${this.where} does not ${what}: status ${String(answer.statusCode)}${told === '' ? '' : ` (${told})`}`)
  }
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function refused(message: string): PawlError {
  return new PawlError('OFFER_REFUSED', message)
}

/** Of what lies in a file; more than there should be is none of it. */
async function hashOfPart(file: FileHandle, size: number): Promise<{ hash: Hash; bytes: number }> {
  const [hash, found] = [createHash('sha256'), (await file.stat()).size]
  if (found > size) await file.truncate(0)
  else if (found > 0) await pipeline(file.createReadStream({ start: 0, autoClose: false }), hash, { end: false })
  return { hash, bytes: found > size ? 0 : found }
}

/** Gives the bytes that are there then: what arrived before a connection was lost counts. Errors: OFFER_REFUSED for more than there should be. */
async function written(
  answer: IncomingMessage, part: { file: FileHandle; hash: Hash; bytes: number; size: number; signal: AbortSignal },
): Promise<number> {
  const { file, hash, size, signal } = part
  let { bytes } = part
  const chunks = (answer as AsyncIterable<Buffer>)[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        signal.throwIfAborted()
        throw away(`a blob was not read to its end: ${messageOf(cause)}`, cause)
      })
      if (next.done) return bytes
      bytes += next.value.length
      if (bytes > size) throw refused(`a blob is longer than the ${String(size)} bytes that it should have`)
      await file.appendFile(next.value)
      hash.update(next.value)
    }
  } finally {
    answer.destroy()
  }
}
