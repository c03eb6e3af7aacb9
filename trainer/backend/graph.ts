/**
 * The graph that the backend records: values that know the node which makes them. There is no builder and no
 * list of nodes; what a set of outputs needs is found by walking back from them, so dead code is never lowered.
 */

import type { Tensor } from './onnxruntime.js'
import { callSite } from './call-site.js'

/**
 * Element types and their numbers in ONNX; `uint8` occurs at the door of an exported model, and with `int8` in its quantised
 * products.
 */
export const elementTypes = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9 } as const
export type ElementType = keyof typeof elementTypes

export type ElementArray = Float32Array | Int32Array | BigInt64Array | Uint8Array | Int8Array

/** A dimension is a count, or the name of one that is free at run time (the batch of an exported model). */
export type Dimension = number | string

export type Attribute = number | string | readonly number[] | { float: number }

export interface GraphNode {
  op: string
  domain: '' | 'com.microsoft'
  inputs: readonly Value[]
  attributes: Readonly<Record<string, Attribute>>
  outputs: Value[]
  /** The line that asked for it, where sites are recorded. */
  site?: string
}

/** Where a value comes from: fed at every run, left on a device by a session, fixed in the graph, or made by a node. */
export type Origin =
  | { kind: 'input'; name: string }
  | { kind: 'resident'; tensor: Tensor }
  | { kind: 'constant'; data: ElementArray }
  | { kind: 'node'; node: GraphNode; output: number }

export interface Value {
  type: ElementType
  shape: readonly number[]
  origin: Origin
}

export function constant(type: ElementType, shape: readonly number[], data: ElementArray): Value {
  return { type, shape, origin: { kind: 'constant', data } }
}

export function int64(values: readonly number[]): Value {
  return constant('int64', [values.length], BigInt64Array.from(values, BigInt))
}

export function float32(value: number): Value {
  return constant('float32', [], Float32Array.of(value))
}

export function input(name: string, type: ElementType, shape: readonly number[]): Value {
  return { type, shape, origin: { kind: 'input', name } }
}

let recordsSites = false

/** Runs `record` and notes at each node which line asked for it: slow, for a graph that is to explain itself. */
export function withSites<T>(record: () => T): T {
  recordsSites = true
  try {
    return record()
  } finally {
    recordsSites = false
  }
}

export interface Emission {
  op: string
  inputs: readonly Value[]
  attributes?: Readonly<Record<string, Attribute>>
  domain?: '' | 'com.microsoft'
}

/** Adds a node with the given outputs; raises when a shape is impossible, naming the operation. */
export function emit(emission: Emission, outputs: readonly { type: ElementType; shape: readonly number[] }[]): Value[] {
  const { op, inputs, attributes = {}, domain = '' } = emission
  for (const { shape } of outputs) {
    if (!shape.every(size => Number.isInteger(size) && size >= 0)) {
      const given = inputs.map(value => `[${value.shape.join(', ')}]`).join(', ')
      throw new Error(`${op} of ${given} would have the shape [${shape.join(', ')}], which no tensor has`)
    }
  }
  const node: GraphNode = { op, domain, inputs, attributes, outputs: [], ...(recordsSites ? { site: callSite() } : {}) }
  node.outputs = outputs.map(({ type, shape }, output) => ({ type, shape, origin: { kind: 'node', node, output } }))
  return node.outputs
}

/** One output of `like`'s element type unless said otherwise. */
export function emitOne(emission: Emission, shape: readonly number[], type: ElementType = emission.inputs[0]?.type ?? 'float32'): Value {
  const [value] = emit(emission, [{ type, shape }])
  if (!value) throw new Error(`${emission.op} made no output`)
  return value
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis])
}

/** The same elements under another shape; no node when the shape is the same already. */
export function reshaped(value: Value, shape: readonly number[]): Value {
  if (sameShape(value.shape, shape)) return value
  if (value.origin.kind === 'constant') return constant(value.type, shape, value.origin.data)
  return emitOne({ op: 'Reshape', inputs: [value, int64(shape)] }, shape)
}

/** Nodes that the outputs need, each after the nodes that it needs. */
export function inOrder(outputs: readonly Value[]): GraphNode[] {
  const done = new Set<GraphNode>()
  const order: GraphNode[] = []
  const stack: { node: GraphNode; next: number }[] = []
  const visit = (value: Value) => {
    if (value.origin.kind !== 'node' || done.has(value.origin.node)) return
    done.add(value.origin.node)
    stack.push({ node: value.origin.node, next: 0 })
  }
  for (const output of outputs) {
    visit(output)
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const needed = top.node.inputs[top.next++]
      if (needed) {
        visit(needed)
      } else {
        order.push(top.node)
        stack.pop()
      }
    }
  }
  return order
}
