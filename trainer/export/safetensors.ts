/** Weights by name in the safetensors format: a length, a JSON header, the bytes. */
import { z } from 'zod'

/** Where each tensor lies in one flat array; a `ParameterTable` is one. */
export interface TensorTable {
  specs: readonly { name: string; shape: readonly number[]; offset: number; size: number }[]
}

const Entry = z.strictObject({
  dtype: z.string(),
  shape: z.array(z.number().int().nonnegative()),
  data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
})
const Header = z.record(z.string(), z.union([Entry, z.record(z.string(), z.string())]))

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

export type Tensors = Map<string, { shape: number[]; data: Float32Array }>

/**
 * Tensors by name, float32, that lie one after the other: so a file needs no more memory than it is long. Errors: a file that is cut off, holds
 * anything else than float32, or whose tensors overlap, leave bytes out or are not of their shape.
 */
export function readSafetensors(file: Uint8Array): Tensors {
  const { buffer, start, header } = opened(file)
  const entries = Object.entries(header).flatMap(([name, entry]) =>
    (name !== '__metadata__' && Array.isArray(entry.data_offsets) ? [{ name, ...entry as z.infer<typeof Entry> }] : []))
  let end = 0
  for (const { name, dtype, shape, data_offsets: [from, to] } of entries.toSorted((a, b) => a.data_offsets[0] - b.data_offsets[0])) {
    if (dtype !== 'F32') throw new Error(`the tensor "${name}" is ${dtype}, not F32`)
    if (start + to > buffer.length || to < from) throw new Error(`the tensor "${name}" lies beyond the end of the file`)
    if (from !== end) throw new Error(`the tensor "${name}" does not begin where the one before it ends`)
    if (to - from !== shape.reduce((product, side) => product * side, Float32Array.BYTES_PER_ELEMENT)) throw new Error(`the tensor "${name}" is not of its shape`)
    end = to
  }
  return new Map(entries.map(({ name, shape, data_offsets: [from, to] }) =>
    [name, { shape, data: new Float32Array(Uint8Array.from(buffer.subarray(start + from, start + to)).buffer) }]))
}

function opened(file: Uint8Array) {
  const buffer = Buffer.from(file.buffer, file.byteOffset, file.byteLength)
  if (buffer.length < 8) throw new Error('the safetensors file is cut off')
  const start = 8 + Number(buffer.readBigUInt64LE())
  if (start > buffer.length) throw new Error('the safetensors header is longer than its file')
  return { buffer, start, header: Header.parse(JSON.parse(buffer.subarray(8, start).toString())) }
}
