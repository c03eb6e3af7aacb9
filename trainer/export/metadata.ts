/** What a model file says of itself: classes and preprocessing, in the ONNX metadata. */
import { BinaryReader } from '@bufbuild/protobuf/wire'
import { z } from 'zod'
import type { ModelMetadata } from '../contract.js'

const keys = { classes: 'pawl.classes', size: 'pawl.size', preprocessing: 'pawl.preprocessing' } as const

const Metadata = z.object({
  classes: z.array(z.string()).min(1),
  size: z.number().int().positive().max(4096),
  preprocessing: z.literal('contain-rgb-1'),
})

export function writeMetadata(metadata: ModelMetadata): Record<string, string> {
  return {
    [keys.classes]: JSON.stringify(metadata.classes),
    [keys.size]: String(metadata.size),
    [keys.preprocessing]: metadata.preprocessing,
  }
}

/** Reads the metadata of an ONNX file. Errors: bytes that are no ONNX model, or one that pawl did not write. */
export function readModelMetadata(model: Uint8Array): ModelMetadata {
  let properties: Record<string, string>
  try {
    properties = readProperties(model)
  } catch (cause) {
    throw new Error('the file is not an ONNX model, or is cut off', { cause })
  }
  const parsed = Metadata.safeParse({
    classes: parseJson(properties[keys.classes]),
    size: Number(properties[keys.size]),
    preprocessing: properties[keys.preprocessing],
  })
  if (!parsed.success) throw new Error(`the model's metadata is not pawl's: ${z.prettifyError(parsed.error)}`)
  return parsed.data
}

/** `metadata_props` of a ModelProto: field 14, a key and a value each; everything else is skipped. */
function readProperties(model: Uint8Array): Record<string, string> {
  const properties: Record<string, string> = {}
  const reader = new BinaryReader(model)
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field !== 14) {
      reader.skip(wireType, field)
      continue
    }
    const end = reader.uint32() + reader.pos
    const entry = { key: '', value: '' }
    while (reader.pos < end) {
      const [inner, innerType] = reader.tag()
      if (inner === 1) entry.key = reader.string()
      else if (inner === 2) entry.value = reader.string()
      else reader.skip(innerType, inner)
    }
    properties[entry.key] = entry.value
  }
  return properties
}

function parseJson(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : JSON.parse(text)
  } catch {
    return undefined
  }
}
