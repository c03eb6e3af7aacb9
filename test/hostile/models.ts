/** Model files that are none, or that are more than they should be. */
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { Random } from '../../trainer/index.js'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'
import { damaged } from './draw.js'

export interface BadModel {
  kind: string
  bytes: Uint8Array
}

/** From a good one: one of each kind, and so many that are damaged. */
export function badModels(good: Uint8Array, random: Random, damages: number): BadModel[] {
  const size = (value: string) => withMetadata(good, { 'pawl.size': value })
  return [
    ...Object.entries({
      'no bytes': new Uint8Array(), zeros: new Uint8Array(10_000), text: Buffer.from('not a model'),
      'a length beyond the end': Buffer.from('3affffffff07', 'hex'),
      'messages in messages': withMetadata(nested(5000), { 'pawl.classes': '["a","b"]', 'pawl.size': '28', 'pawl.preprocessing': 'contain-rgb-1' }),
      'pictures of 10^9 pixels a side': size('1000000000'), 'pictures of 4096 pixels a side': size('4096'), 'pictures of -1 pixels a side': size('-1'), 'pictures of no size': size('x'),
      'one class too few': withMetadata(good, { 'pawl.classes': '["__proto__"]' }), 'no classes': withMetadata(good, { 'pawl.classes': '[]' }),
      'a hundred thousand classes': withMetadata(good, { 'pawl.classes': JSON.stringify(Array.from({ length: 100_000 }, (_, index) => `../${String(index)}`)) }),
      'weights in another file': external('../../../outside/canary'), 'weights in a device': external('/dev/zero'),
    }).map(([kind, bytes]) => ({ kind, bytes })),
    ...Array.from({ length: damages }, () => ({ kind: 'damaged', bytes: damaged(random, good) })),
  ]
}

/** While the box is down: its registry takes them for challengers of its own, hashes and all. Gives the version of each. */
export async function registerModels(data: string, models: readonly BadModel[]): Promise<number[]> {
  const registry = new Registry({ data, clock: systemClock, keepModels: 10_000, onProblem: error => { throw error } })
  await registry.start()
  const champion = registry.active()
  if (!champion) throw new Error('there is no model to begin with')
  const versions: number[] = []
  for (const { bytes } of models) {
    const folder = join(data, 'rounds', 'hostile')
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'model.onnx'), bytes)
    await copyFile(join(registry.folderOf(champion), 'weights.safetensors'), join(folder, 'weights.safetensors'))
    const card = { ...champion.card, files: { ...champion.card.files, 'model.onnx': createHash('sha256').update(bytes).digest('hex') } }
    await writeFile(join(folder, 'card.json'), JSON.stringify(card))
    const { version } = await registry.register({ folder, card, decision: own => ({ ...champion.decision, challenger: own, promoted: false, reason: 'inconclusive' }) })
    versions.push(version)
  }
  await registry.stop()
  return versions
}

/** While the box is down: a registry whose checksum is right and whose models lie elsewhere, and links that lead out of it. */
export async function leadAstray(data: string, outside: string): Promise<void> {
  const path = join(data, 'state.json')
  const envelope = JSON.parse(await readFile(path, 'utf8')) as { data: { versions: { folder: string }[] } }
  for (const version of envelope.data.versions) version.folder = '../../outside/folder'
  const body = JSON.stringify(envelope.data)
  await writeFile(path, JSON.stringify({ ...envelope, sha256: createHash('sha256').update(body).digest('hex'), data: envelope.data }))
  const day = join(data, 'frames', 'good', '2020-01-01')
  await mkdir(day, { recursive: true })
  const folder = join(outside, 'folder')
  for (const link of ['quarantine/link', 'report/link', 'rounds/999', 'drift/link', 'models/link', 'labels/link', 'frames/link']) await leads(join(data, link), folder)
  for (const link of ['outbox/000000000001.json', 'frames/good/2020-01-01/1577836800000-0123456789ab.jpg', 'quarantine/canary.0a1b2c3d.tmp']) {
    await leads(join(data, link), join(outside, 'canary'))
  }
}

async function leads(path: string, to: string): Promise<void> {
  await rm(path, { force: true })
  await symlink(to, path)
}

/** The same model with other metadata (ModelProto, field 14). */
function withMetadata(model: Uint8Array, changes: Record<string, string>): Uint8Array {
  const [reader, writer] = [new BinaryReader(model), new BinaryWriter()]
  while (reader.pos < reader.len) {
    const from = reader.pos
    const [field, wireType] = reader.tag()
    const bytes = field === 14 ? reader.bytes() : reader.skip(wireType, field)
    const inner = field === 14 ? new BinaryReader(bytes) : null
    if (inner) inner.tag()
    const changed = inner && changes[inner.string()]
    if (typeof changed !== 'string') writer.raw(model.subarray(from, reader.pos))
  }
  for (const [key, value] of Object.entries(changes)) {
    writer.tag(14, WireType.LengthDelimited).fork().tag(1, WireType.LengthDelimited).string(key).tag(2, WireType.LengthDelimited).string(value).join()
  }
  return writer.finish()
}

/** A graph in an attribute of a node of a graph (GraphProto 1, NodeProto 5, AttributeProto 6), and so on. */
function nested(depth: number): Uint8Array {
  let bytes = new Uint8Array()
  for (let level = 0; level < depth; level++) {
    const head = new BinaryWriter().tag([1, 5, 6][level % 3] ?? 1, WireType.LengthDelimited).uint32(bytes.length).finish()
    bytes = new Uint8Array(Buffer.concat([head, bytes]))
  }
  return new BinaryWriter().tag(1, WireType.Varint).uint32(8).tag(7, WireType.LengthDelimited).bytes(bytes).finish()
}

/** A model whose one initialiser lies in another file (TensorProto 13, 14). */
function external(location: string): Uint8Array {
  const text = (writer: BinaryWriter, field: number, value: string) => writer.tag(field, WireType.LengthDelimited).string(value)
  const writer = new BinaryWriter().tag(1, WireType.Varint).uint32(8).tag(7, WireType.LengthDelimited).fork()
  writer.tag(5, WireType.LengthDelimited).fork().tag(1, WireType.Varint).uint32(1_000_000).tag(2, WireType.Varint).uint32(1)
  text(writer, 8, 'w').tag(13, WireType.LengthDelimited).fork()
  text(text(writer, 1, 'location'), 2, location).join().tag(14, WireType.Varint).uint32(1).join()
  text(text(writer.tag(1, WireType.LengthDelimited).fork(), 1, 'w'), 2, 'probabilities')
  text(writer, 4, 'Identity').join()
  text(writer.tag(12, WireType.LengthDelimited).fork(), 1, 'probabilities').join().join()
  writer.tag(8, WireType.LengthDelimited).fork().tag(2, WireType.Varint).uint32(17).join()
  return withMetadata(writer.finish(), { 'pawl.classes': '["a","b"]', 'pawl.size': '28', 'pawl.preprocessing': 'contain-rgb-1' })
}
