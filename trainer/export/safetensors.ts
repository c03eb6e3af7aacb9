/** Weights by name in the safetensors format: a length, a JSON header, the bytes. */
import { z } from 'zod'

/** Where each tensor lies in one flat array; a `ParameterTable` is one. */
export interface TensorTable {
  specs: readonly { name: string; shape: readonly number[]; offset: number; size: number }[]
}

const Header = z.record(z.string(), z.union([
  z.strictObject({
    dtype: z.string(),
    shape: z.array(z.number().int().nonnegative()),
    data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
  }),
  z.record(z.string(), z.string()),
]))

/** Tensors that lie one after the other in `flat`, offsets and sizes in elements. */
export function writeSafetensors(table: TensorTable, flat: Float32Array, metadata: Record<string, string>): Uint8Array {
  const width = Float32Array.BYTES_PER_ELEMENT
  const header: Record<string, unknown> = { __metadata__: metadata }
  for (const { name, shape, offset, size } of table.specs) {
    header[name] = { dtype: 'F32', shape, data_offsets: [offset * width, (offset + size) * width] }
  }
  const text = JSON.stringify(header)
  const bytes = Buffer.from(text + ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([length, bytes, Buffer.from(flat.buffer, flat.byteOffset, flat.byteLength)])
}

/** What the file says of itself beside its tensors. Errors: a header that is cut off. */
export function safetensorsMetadata(file: Uint8Array): Record<string, string> {
  const { __metadata__: metadata } = opened(file).header
  return metadata && !('data_offsets' in metadata) ? metadata as Record<string, string> : {}
}

/** Tensors by name, float32. Errors: a file that is cut off or holds anything else than float32. */
export function readSafetensors(file: Uint8Array): Map<string, { shape: number[]; data: Float32Array }> {
  const { buffer, start, header } = opened(file)
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>()
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__' || !('data_offsets' in entry) || !Array.isArray(entry.data_offsets)) continue
    const { dtype, shape, data_offsets: [from, to] } = entry as { dtype: string; shape: number[]; data_offsets: [number, number] }
    if (dtype !== 'F32') throw new Error(`the tensor "${name}" is ${dtype}, not F32`)
    if (start + to > buffer.length || to < from) throw new Error(`the tensor "${name}" lies beyond the end of the file`)
    tensors.set(name, { shape, data: new Float32Array(Uint8Array.from(buffer.subarray(start + from, start + to)).buffer) })
  }
  return tensors
}

function opened(file: Uint8Array) {
  const buffer = Buffer.from(file.buffer, file.byteOffset, file.byteLength)
  if (buffer.length < 8) throw new Error('the safetensors file is cut off')
  const start = 8 + Number(buffer.readBigUInt64LE())
  if (start > buffer.length) throw new Error('the safetensors header is longer than its file')
  return { buffer, start, header: Header.parse(JSON.parse(buffer.subarray(8, start).toString())) }
}
