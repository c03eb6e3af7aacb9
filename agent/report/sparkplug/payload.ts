/** The bytes of Sparkplug B: a small part of its protobuf schema, all that this edge node writes and reads (Sparkplug 3.0, chapter 6.4). */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

/** Numbers of the data types. UInt32 is left out: libraries differ in where they put its value. */
export const dataTypes = { Int64: 4, Double: 10, Boolean: 11, String: 12, DateTime: 13 } as const
export type DataType = keyof typeof dataTypes
export type Value = number | boolean | string | null

export interface Metric {
  /** In births, and where it has no alias. */
  name?: string
  alias?: number
  timestampMs: number
  type: DataType
  /** Null: it has none now. */
  value: Value
}

export interface Payload {
  timestampMs: number
  /** 0 to 255; a death of the node has none. */
  seq?: number
  metrics: readonly Metric[]
  /** Whether each metric names its type, as births must and data should not. */
  typed: boolean
}

export function encode({ timestampMs, seq, metrics, typed }: Payload): Uint8Array {
  const writer = new BinaryWriter()
  writer.tag(1, WireType.Varint).uint64(milliseconds(timestampMs))
  for (const metric of metrics) {
    writer.tag(2, WireType.LengthDelimited).fork()
    writeMetric(writer, metric, typed)
    writer.join()
  }
  if (seq !== undefined) writer.tag(3, WireType.Varint).uint64(seq)
  return writer.finish()
}

function writeMetric(writer: BinaryWriter, { name, alias, timestampMs, type, value }: Metric, typed: boolean): void {
  if (name !== undefined) writer.tag(1, WireType.LengthDelimited).string(name)
  if (alias !== undefined) writer.tag(2, WireType.Varint).uint64(alias)
  writer.tag(3, WireType.Varint).uint64(milliseconds(timestampMs))
  if (typed) writer.tag(4, WireType.Varint).uint32(dataTypes[type])
  if (value === null) writer.tag(7, WireType.Varint).bool(true)
  else write[type](writer, value)
}

const write: Record<DataType, (writer: BinaryWriter, value: number | boolean | string) => unknown> = {
  Int64: (writer, value) => writer.tag(11, WireType.Varint).int64(Number(value)),
  DateTime: (writer, value) => writer.tag(11, WireType.Varint).uint64(milliseconds(Number(value))),
  Double: (writer, value) => writer.tag(13, WireType.Bit64).double(Number(value)),
  Boolean: (writer, value) => writer.tag(14, WireType.Varint).bool(Boolean(value)),
  String: (writer, value) => writer.tag(15, WireType.LengthDelimited).string(String(value)),
}

/** A clock before 1970 is one that was never set. */
const milliseconds = (ms: number) => Math.max(0, Math.round(ms))

export interface Command {
  name: string
  boolean: boolean | null
}

/** The metrics of a command that have a name. Errors: bytes that are no payload. */
export function decodeCommand(bytes: Uint8Array): Command[] {
  const reader = new BinaryReader(bytes)
  const commands: Command[] = []
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === 2 && wireType === WireType.LengthDelimited) commands.push(decodeMetric(reader.bytes()))
    else reader.skip(wireType, field)
  }
  return commands.filter(({ name }) => name !== '')
}

function decodeMetric(bytes: Uint8Array): Command {
  const reader = new BinaryReader(bytes)
  const command: Command = { name: '', boolean: null }
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === 1 && wireType === WireType.LengthDelimited) command.name = reader.string()
    else if (field === 14 && wireType === WireType.Varint) command.boolean = reader.bool()
    else reader.skip(wireType, field)
  }
  return command
}
