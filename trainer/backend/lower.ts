/** From recorded values to an ONNX model: order, name, encode. */
import { BinaryWriter } from '@bufbuild/protobuf/wire'
import {
  elementTypes, inOrder, type Attribute, type Dimension, type ElementArray, type ElementType, type GraphNode, type Value,
} from './graph.js'

/** Oldest versions that carry every operation emitted here; onnxruntime 1.17 and later read them. */
const irVersion = 8
const opset = 17

export interface NamedValue {
  name: string
  value: Value
}

export interface ModelDescription {
  inputs: readonly NamedValue[]
  outputs: readonly NamedValue[]
  metadata?: Readonly<Record<string, string>>
  /**
   * A dimension that is free at run time: the size it was recorded with, which divides no other dimension. Where it occurs
   * in the shape of a reshape, alone or times something, the runtime works it out (-1).
   */
  free?: { size: number; name: string }
}

/**
 * Encodes a model (ONNX IR 8, opset 17; `com.microsoft` only where a node asks for it).
 * Gives its bytes and the number of its nodes. Errors: an output that needs a value which is neither an input, a constant nor computed from them.
 */
export function lower({ inputs, outputs, metadata = {}, free }: ModelDescription): { model: Uint8Array; nodes: number } {
  const nodes = inOrder(outputs.map(({ value }) => value))
  const names = new Names(inputs)
  const graph = new BinaryWriter()
  for (const node of nodes) {
    const entry = { node, inputs: node.inputs.map(value => names.of(value)), outputs: node.outputs.map(value => names.of(value)) }
    embedded(graph, 1, writer => { writeNode(writer, entry) })
  }
  // An output may be an input, a constant, or the same value as another output: each gets a node of its own name.
  for (const { name, value } of outputs) {
    const identity: GraphNode = { op: 'Identity', domain: '', inputs: [], attributes: {}, outputs: [] }
    embedded(graph, 1, writer => { writeNode(writer, { node: identity, inputs: [names.of(value)], outputs: [name] }) })
  }
  graph.tag(2, 2).string('pawl')
  for (const { name, value } of names.constants) embedded(graph, 5, writer => { writeTensor(writer, name, free ? freed(value, free.size) : value) })
  const info = ({ name, value }: NamedValue) => (writer: BinaryWriter) => {
    writeValueInfo(writer, name, value.type, value.shape.map(size => (size === free?.size ? free.name : size)))
  }
  for (const entry of inputs) embedded(graph, 11, info(entry))
  for (const entry of outputs) embedded(graph, 12, info(entry))

  const model = new BinaryWriter()
  model.tag(1, 0).int64(irVersion)
  model.tag(2, 2).string('pawl')
  embedded(model, 7, writer => { writer.raw(graph.finish()) })
  const domains = new Set(['', ...nodes.map(node => node.domain)])
  for (const domain of domains) {
    embedded(model, 8, writer => {
      if (domain) writer.tag(1, 2).string(domain)
      writer.tag(2, 0).int64(domain ? 1 : opset)
    })
  }
  for (const [key, value] of Object.entries(metadata)) {
    embedded(model, 14, writer => { writer.tag(1, 2).string(key).tag(2, 2).string(value) })
  }
  return { model: model.finish(), nodes: nodes.length }
}

/** Gives each value one name; equal constants share theirs. */
class Names {
  readonly constants: { name: string; value: Constant }[] = []
  private readonly names = new Map<Value, string>()
  private readonly byContent = new Map<string, string>()

  constructor(inputs: readonly NamedValue[]) {
    for (const { name, value } of inputs) this.names.set(value, name)
  }

  of(value: Value): string {
    const known = this.names.get(value)
    if (known) return known
    const name = this.give(value)
    this.names.set(value, name)
    return name
  }

  private give(value: Value): string {
    const { origin, type, shape } = value
    if (origin.kind === 'input') throw new Error(`the graph needs the input "${origin.name}", which is not among its inputs`)
    if (origin.kind === 'resident') throw new Error('the graph needs a tensor that lies on the device: hand it in as an argument')
    if (origin.kind === 'node') return `${origin.node.op}_${String(this.names.size)}`
    const content = origin.data.length <= 64 ? `${type}[${shape.join()}]${origin.data.join()}` : null
    const twin = content === null ? undefined : this.byContent.get(content)
    if (twin) return twin
    const name = `constant_${String(this.constants.length)}`
    if (content !== null) this.byContent.set(content, name)
    this.constants.push({ name, value: { ...value, origin } })
    return name
  }
}

type Constant = Value & { origin: { kind: 'constant'; data: ElementArray } }

/** A shape constant with the free dimension left to the runtime. */
function freed(value: Constant, size: number): Constant {
  const { data } = value.origin
  if (!(data instanceof BigInt64Array)) return value
  const open = data.map(item => (item > 0n && item % BigInt(size) === 0n ? -1n : item))
  return { ...value, origin: { kind: 'constant', data: open } }
}

function embedded(writer: BinaryWriter, field: number, write: (inner: BinaryWriter) => void): void {
  writer.tag(field, 2).fork()
  write(writer)
  writer.join()
}

function writeNode(writer: BinaryWriter, entry: { node: GraphNode; inputs: string[]; outputs: string[] }): void {
  for (const name of entry.inputs) writer.tag(1, 2).string(name)
  for (const name of entry.outputs) writer.tag(2, 2).string(name)
  writer.tag(4, 2).string(entry.node.op)
  for (const [name, value] of Object.entries(entry.node.attributes)) {
    embedded(writer, 5, inner => { writeAttribute(inner, name, value) })
  }
  if (entry.node.domain) writer.tag(7, 2).string(entry.node.domain)
}

/** AttributeProto: field 20 holds the kind (1 float, 2 int, 3 string, 7 ints). */
function writeAttribute(writer: BinaryWriter, name: string, value: Attribute): void {
  writer.tag(1, 2).string(name)
  if (typeof value === 'number') writer.tag(3, 0).int64(value).tag(20, 0).int32(2)
  else if (typeof value === 'string') writer.tag(4, 2).string(value).tag(20, 0).int32(3)
  else if ('float' in value) writer.tag(2, 5).float(value.float).tag(20, 0).int32(1)
  else {
    for (const item of value) writer.tag(8, 0).int64(item)
    writer.tag(20, 0).int32(7)
  }
}

function writeTensor(writer: BinaryWriter, name: string, value: Constant): void {
  const { data } = value.origin
  for (const size of value.shape) writer.tag(1, 0).int64(size)
  writer.tag(2, 0).int32(elementTypes[value.type])
  writer.tag(8, 2).string(name)
  writer.tag(9, 2).bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
}

function writeValueInfo(writer: BinaryWriter, name: string, type: ElementType, shape: readonly Dimension[]): void {
  writer.tag(1, 2).string(name)
  embedded(writer, 2, typeWriter => {
    embedded(typeWriter, 1, tensor => {
      tensor.tag(1, 0).int32(elementTypes[type])
      embedded(tensor, 2, dimensions => {
        for (const size of shape) {
          embedded(dimensions, 1, dimension => {
            if (typeof size === 'number') dimension.tag(1, 0).int64(size)
            else dimension.tag(2, 2).string(size)
          })
        }
      })
    })
  })
}
