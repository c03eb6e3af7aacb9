/**
 * Rewrites of a recorded graph: the same results from fewer and larger operations. Kernels record plain ONNX; what a product can
 * take over from its neighbours is found here, once, for every gradient.
 */
import { emit, emitOne, inOrder, sameShape, sizeOf, type Attribute, type GraphNode, type Value } from './graph.js'

/** Each can be switched off by its name: `npm run bench:engine -- rewrites` times the step without it. */
export const rewriteNames = ['twins', 'transposes', 'factors', 'sums'] as const
export type RewriteName = (typeof rewriteNames)[number]

export interface RewriteOptions {
  /** Rewrites that are left out. */
  without?: readonly RewriteName[]
  /** Whether operations of `com.microsoft` may be used: not in an exported model. */
  contrib: boolean
}

/** What else a rule may ask. */
interface Context {
  contrib: boolean
  /** Nothing else needs the value: folding it away saves its node. */
  onlyUse: (value: Value) => boolean
}

/** Another value for the same numbers, or null where the rule has nothing to say. */
type Rule = (node: GraphNode, value: Value, context: Context) => Value | null

const rules: Readonly<Record<Exclude<RewriteName, 'twins'>, Rule>> = { transposes, factors, sums }

/** The same values, recorded anew with what is not left out. */
export function rewritten(outputs: readonly Value[], { without = [], contrib }: RewriteOptions): Value[] {
  const shared = without.includes('twins') ? [...outputs] : withoutTwins(outputs)
  const enabled = rewriteNames.flatMap(name => (name === 'twins' || without.includes(name) ? [] : [rules[name]]))
  const uses = countUses(shared)
  const context: Context = { contrib, onlyUse: value => uses.get(value) === 1 }
  return rebuilt(shared, (node, made) => {
    const [old] = node.outputs
    let [value] = made
    if (!old || !value || made.length > 1) return made
    uses.set(value, uses.get(old) ?? 0)
    for (let next: Value | null = value; next;) {
      value = next
      next = null
      for (const rule of enabled) if (value.origin.kind === 'node') next ??= rule(value.origin.node, value, context)
      if (next) uses.set(next, uses.get(old) ?? 0)
    }
    return [value]
  })
}

/** Walks the graph in order; `replace` gives the outputs that stand for a node's, whose inputs have been replaced already. */
export function rebuilt(outputs: readonly Value[], replace: (node: GraphNode, made: readonly Value[]) => readonly Value[]): Value[] {
  const replacement = new Map<Value, Value>()
  const of = (value: Value) => replacement.get(value) ?? value
  for (const node of inOrder(outputs)) {
    const inputs = node.inputs.map(of)
    const unchanged = inputs.every((value, index) => value === node.inputs[index])
    const made = replace(node, unchanged ? node.outputs : emit({ ...node, inputs }, node.outputs))
    node.outputs.forEach((old, index) => { replacement.set(old, made[index] ?? old) })
  }
  return outputs.map(of)
}

function countUses(outputs: readonly Value[]): Map<Value, number> {
  const uses = new Map<Value, number>()
  const count = (value: Value) => { uses.set(value, (uses.get(value) ?? 0) + 1) }
  outputs.forEach(count)
  for (const node of inOrder(outputs)) node.inputs.forEach(count)
  return uses
}

/** Common subexpressions: the same operation on the same values is computed once. */
function withoutTwins(outputs: readonly Value[]): Value[] {
  const identities = new Map<Value, string>()
  const identityOf = (value: Value): string => {
    const { origin, type, shape } = value
    if (origin.kind === 'constant' && origin.data.length <= 64) return `${type}[${shape.join()}]${origin.data.join()}`
    const known = identities.get(value) ?? `#${String(identities.size)}`
    identities.set(value, known)
    return known
  }
  const first = new Map<string, readonly Value[]>()
  return rebuilt(outputs, (node, made) => {
    const inputs = made[0] ? inputsOf(made[0]).map(identityOf) : []
    const key = JSON.stringify([node.domain, node.op, inputs, node.attributes, made.map(({ shape }) => shape)])
    const twin = first.get(key)
    if (!twin) first.set(key, made)
    return twin ?? made
  })
}

function inputsOf({ origin }: Value): readonly Value[] {
  return origin.kind === 'node' ? origin.node.inputs : []
}

/** A matrix product over the last two axes: `MatMul`, `Gemm` without its third input, or `FusedMatMul`. */
function asProduct({ origin, type }: Value): GraphNode | null {
  if (origin.kind !== 'node' || type !== 'float32') return null
  const { node } = origin
  return node.op === 'MatMul' || node.op === 'FusedMatMul' || (node.op === 'Gemm' && node.inputs.length === 2) ? node : null
}

/** The product of `a` and `b` with more attributes: `Gemm` for two matrices, `FusedMatMul` for stacks of them. */
function product([a, b]: readonly [Value, Value], attributes: GraphNode['attributes'], shape: readonly number[], { contrib }: Context): Value | null {
  if (a.shape.length === 2 && b.shape.length === 2) return emitOne({ op: 'Gemm', inputs: [a, b], attributes }, shape)
  return contrib ? emitOne({ op: 'FusedMatMul', domain: 'com.microsoft', inputs: [a, b], attributes }, shape) : null
}

/**
 * A product reads an operand that lies transposed where it lies: the last two axes swapped (`transA`), or rows in front of the
 * stack's axes, [M, …, K] for [.., M, K] (`transBatchA`).
 */
function transposes(node: GraphNode, value: Value, context: Context): Value | null {
  const [a, b] = node.inputs
  if (!asProduct(value) || !a || !b) return null
  for (const [side, operand] of [['A', a], ['B', b]] as const) {
    const { origin } = operand
    if (origin.kind !== 'node' || origin.node.op !== 'Transpose') continue
    const [source] = origin.node.inputs
    // `FusedMatMul` takes rows in front of a stack only beside a stack of as many axes.
    const sameRank = a.shape.length === b.shape.length
    const change = source && transposition(origin.node.attributes.perm, side, node.attributes, context.contrib && sameRank)
    if (change) return product(side === 'A' ? [source, b] : [a, source], { ...node.attributes, ...change }, value.shape, context)
  }
  return null
}

function transposition(perm: Attribute | undefined, side: 'A' | 'B', attributes: GraphNode['attributes'], stacks: boolean) {
  // The rows are moved to the front once, and last: nothing can be laid onto that.
  if (!Array.isArray(perm) || attributes[`transBatch${side}`] === 1) return null
  const order = perm as readonly number[]
  const last = order.length - 1
  if (order.every((axis, index) => axis === (index === last ? last - 1 : index === last - 1 ? last : index))) {
    return { [`trans${side}`]: attributes[`trans${side}`] === 1 ? 0 : 1 }
  }
  const rowsInFront = order.length > 2 && order.every((axis, index) => axis === (index === last ? last : index === last - 1 ? 0 : index + 1))
  return stacks && rowsInFront ? { [`transBatch${side}`]: 1 } : null
}

/** A constant factor on a product, or on one of its operands, becomes the product's own `alpha`. */
function factors(node: GraphNode, value: Value, context: Context): Value | null {
  if (node.op === 'Mul') {
    const scaled = scaledBy(node)
    const inner = scaled && context.onlyUse(scaled.value) && sameShape(scaled.value.shape, value.shape) ? asProduct(scaled.value) : null
    return inner && scaled && withFactor(inner, inner.inputs, scaled.factor, value.shape, context)
  }
  const outer = asProduct(value)
  for (const [index, operand] of (outer?.inputs ?? []).entries()) {
    const { origin } = operand
    const scaled = origin.kind === 'node' && origin.node.op === 'Mul' && context.onlyUse(operand) ? scaledBy(origin.node) : null
    if (outer && scaled && sameShape(scaled.value.shape, operand.shape)) {
      return withFactor(outer, outer.inputs.with(index, scaled.value), scaled.factor, value.shape, context)
    }
  }
  return null
}

function withFactor(node: GraphNode, inputs: readonly Value[], factor: number, shape: readonly number[], context: Context): Value | null {
  const { alpha } = node.attributes
  const before = typeof alpha === 'object' && 'float' in alpha ? alpha.float : 1
  const [a, b] = inputs
  return a && b ? product([a, b], { ...node.attributes, alpha: { float: before * factor } }, shape, context) : null
}

/** What a multiplication scales, and the one number that it scales by. */
function scaledBy({ inputs }: GraphNode): { value: Value; factor: number } | null {
  for (const [index, { origin, shape, type }] of inputs.entries()) {
    const other = inputs[1 - index]
    const number = origin.kind === 'constant' && type === 'float32' && sizeOf(shape) === 1 ? origin.data[0] : undefined
    if (other && typeof number === 'number') return { value: other, factor: number }
  }
  return null
}

/** A matrix added to the product of two others is where the product starts from: `Gemm`'s third input. */
function sums(node: GraphNode, value: Value, context: Context): Value | null {
  if (node.op !== 'Add' || value.shape.length !== 2 || value.type !== 'float32') return null
  for (const [index, term] of node.inputs.entries()) {
    const other = node.inputs[1 - index]
    const inner = asProduct(term)
    if (!inner || !other || !context.onlyUse(term) || !sameShape(term.shape, value.shape)) continue
    if (inner.inputs.some(({ shape }) => shape.length !== 2)) continue
    // A row is a bias, a whole matrix a sum; anything else would have to be spread out first.
    if (!sameShape(other.shape, value.shape) && !sameShape(other.shape, value.shape.slice(1))) continue
    return emitOne({ op: 'Gemm', inputs: [...inner.inputs, other], attributes: inner.attributes }, value.shape)
  }
  return null
}
