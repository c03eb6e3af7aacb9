/** What an offer is: a model in a registry, and its box's signature under it. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import type { ModelCard } from '../../trainer/contract.js'
import { identifier } from '../config.js'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import { classNameOf } from '../frames/class-name.js'
import { fingerprintOf } from '../registry/identity.js'
import { hashOfJson, isSignedBy, type SignedEntry } from '../registry/lineage.js'
import { ModelCardSchema, OfferSchema } from '../schemas.js'
import { manifestType, type Descriptor } from './repository.js'

export type Offer = z.infer<typeof OfferSchema>

/** A box whose models are judged here. */
export interface TrustedBox {
  name: string
  key: KeyObject
  fingerprint: string
}

/** Bytes of the largest offer, and of the largest card. */
const mostOfferBytes = 65_536
export const mostCardBytes = 1_048_576
const keyName = /^(.+)\.public\.pem$/
const mediaTypes = {
  artifact: 'application/vnd.pawl.model.v1',
  card: 'application/vnd.pawl.model.card.v1+json',
  weights: 'application/vnd.pawl.model.weights.v1.safetensors',
} as const

const refused = (message: string, cause?: unknown) => new PawlError('OFFER_REFUSED', message, { cause })

/** The keys of a folder, `<name of the box>.public.pem` each, but for this box's own; and what is wrong with the others. */
export async function trustedBoxes(folder: string, own: string): Promise<{ boxes: TrustedBox[]; problems: string[] }> {
  const boxes: TrustedBox[] = []
  const problems: string[] = []
  const names = await readdir(folder).catch((cause: unknown) => {
    problems.push(`exchange.trust is "${folder}", which cannot be read (${cause instanceof Error ? cause.message : String(cause)})`)
    return []
  })
  for (const file of names.sort()) {
    const name = keyName.exec(file)?.[1]
    if (name === undefined || name === own) continue
    const path = join(folder, file)
    try {
      if (!identifier.safeParse(name).success) throw new Error('no box can have this name')
      const key = createPublicKey(await readFile(path))
      if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is a key of type ${String(key.asymmetricKeyType)}, not ed25519`)
      boxes.push({ name, key, fingerprint: fingerprintOf(key) })
    } catch (cause) {
      problems.push(`${path} is no key of a box (${cause instanceof Error ? cause.message : String(cause)}); \`pawl models key\` on that box writes it`)
    }
  }
  return { boxes, problems }
}

/** What a registry is to hold of a model. Not its model.onnx: whoever judges it makes that anew. */
export interface ModelBlobs {
  card: Pick<Descriptor, 'digest' | 'size'>
  weights: Pick<Descriptor, 'digest' | 'size'>
}

/** The manifest (OCI Image Specification 1.1): the same bytes for the same model. */
export function manifestOf({ card, weights }: ModelBlobs): Buffer {
  return Buffer.from(JSON.stringify({
    schemaVersion: 2,
    mediaType: manifestType,
    artifactType: mediaTypes.artifact,
    config: { mediaType: mediaTypes.card, digest: card.digest, size: card.size },
    layers: [{ mediaType: mediaTypes.weights, digest: weights.digest, size: weights.size, annotations: { 'org.opencontainers.image.title': 'weights.safetensors' } }],
  }))
}

const Described = (mediaType: string) => z.object({
  mediaType: z.literal(mediaType), digest: z.string().regex(/^sha256:[0-9a-f]{64}$/), size: z.number().int().positive(),
})
const Manifest = z.object({
  artifactType: z.literal(mediaTypes.artifact),
  config: Described(mediaTypes.card),
  layers: z.tuple([Described(mediaTypes.weights)]),
})

/** What there is to fetch. Errors: OFFER_REFUSED. */
export function partsOf(manifest: Uint8Array): { card: Descriptor; weights: Descriptor } {
  const parsed = Manifest.safeParse(jsonOf(manifest))
  if (!parsed.success) throw refused(`its manifest is none of a model: ${z.prettifyError(parsed.error)}`)
  const { config: card, layers: [weights] } = parsed.data
  if (card.size > mostCardBytes) throw refused(`its card has ${String(card.size)} bytes, more than ${String(mostCardBytes)}`)
  return { card, weights }
}

export function offerOf({ card, decision }: ModelVersion, published: { manifest: string; reference: string; signed: SignedEntry }): Offer {
  return {
    format: 'pawl-offer/1', model: card.files['model.onnx'], preset: card.preset, classes: card.classes,
    method: card.method, createdAt: card.createdAt, accuracy: decision.accuracyChallenger, ...published,
  }
}

/** What came over MQTT below the name of a box that is trusted, once its signature holds. Errors: OFFER_REFUSED. */
export function proven(payload: Uint8Array, { name, key, fingerprint }: TrustedBox): Offer {
  if (payload.length > mostOfferBytes) throw refused(`an offer below ${name} has ${String(payload.length)} bytes, more than ${String(mostOfferBytes)}`)
  const parsed = OfferSchema.safeParse(jsonOf(payload))
  if (!parsed.success) throw refused(`an offer below ${name} is none: ${z.prettifyError(parsed.error).slice(0, 300)}`)
  const { signed, manifest, model } = parsed.data
  const { entry } = signed
  if (entry.key !== fingerprint) throw refused(`an offer below ${name} is signed with key ${entry.key.slice(0, 40)}, and the one that is trusted is ${fingerprint}`)
  if (!isSignedBy(signed, key)) throw refused(`an offer below ${name} has a signature that is not of its key`)
  if (entry.change !== 'published' || entry.version === null || entry.manifest !== manifest || entry.model !== model) {
    throw refused(`an offer below ${name} is signed, but not as a published model with this manifest`)
  }
  return parsed.data
}

/** What this box can do with. */
export interface Wanted {
  preset: string
  /** Each must be known; others may be. */
  classes: readonly string[]
}

/** Why a model is of no use here; null: it may be judged. */
export function objectionTo({ preset, classes }: Pick<ModelCard, 'preset' | 'classes'>, wanted: Wanted): string | null {
  if (preset !== wanted.preset) return `it is of preset ${preset}, and this box is set up for ${wanted.preset} (rounds.preset)`
  const missing = wanted.classes.filter(name => !classes.includes(name))
  return missing.length === 0 ? null : `it does not know ${missing.map(name => `"${name}"`).join(', ')}`
}

/** The card that was fetched, held against what was signed. Errors: OFFER_REFUSED. */
export function provenCard(bytes: Uint8Array, { offer, weights }: { offer: Offer; weights: Descriptor }): ModelCard {
  const told = jsonOf(bytes)
  const parsed = ModelCardSchema.safeParse(told)
  if (!parsed.success) throw refused(`its card is none: ${z.prettifyError(parsed.error).slice(0, 300)}`)
  const { files, classes, preset, method } = parsed.data
  if (hashOfJson(told) !== offer.signed.entry.card || files['model.onnx'] !== offer.model) throw refused('its card is not the one that was signed')
  if (`sha256:${files['weights.safetensors']}` !== weights.digest) throw refused('its card names other weights than its manifest')
  if (preset !== offer.preset || method !== offer.method || !isDeepStrictEqual(classes, offer.classes)) throw refused('its card tells of another model than the offer')
  const strange = new Set(classes).size < classes.length ? 'a class twice' : classes.find(name => !isClassName(name))
  if (strange !== undefined) throw refused(`its classes cannot be: ${JSON.stringify(strange.slice(0, 100))}`)
  return parsed.data
}

/** A class is a folder here, and a word on pages. */
function isClassName(name: string): boolean {
  try {
    return classNameOf(name, []) === name
  } catch {
    return false
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString())
  } catch {
    return null
  }
}
