/** A graph as text that a person can read: one line a node. */
import { inOrder, type Attribute, type Value } from './graph.js'
import type { NamedValue } from './lower.js'

const shown = (attribute: Attribute): string =>
  typeof attribute === 'object' ? ('float' in attribute ? String(attribute.float) : `[${attribute.join(', ')}]`) : String(attribute)

/** `%3 = FusedMatMul(%1, %2, transB=1) float32[8, 4, 49, 49]`, after the inputs and before the outputs. */
export function described({ inputs, outputs }: { inputs: readonly NamedValue[]; outputs: readonly NamedValue[] }): string {
  const names = new Map<Value, string>(inputs.map(({ name, value }) => [value, name]))
  const nameOf = (value: Value): string => {
    const { origin } = value
    if (origin.kind === 'constant') return origin.data.length <= 4 ? `[${origin.data.join(', ')}]` : `constant ${typeOf(value)}`
    const name = names.get(value) ?? `%${String(names.size)}`
    names.set(value, name)
    return name
  }
  const nodes = inOrder(outputs.map(({ value }) => value)).map(({ op, inputs: given, attributes, outputs: made }) => {
    const settings = Object.entries(attributes).map(([key, attribute]) => `${key}=${shown(attribute)}`)
    return `${made.map(nameOf).join(', ')} = ${op}(${[...given.map(nameOf), ...settings].join(', ')}) ${made.map(typeOf).join(', ')}`
  })
  return [
    ...inputs.map(({ name, value }) => `${name}: ${typeOf(value)}`),
    ...nodes,
    ...outputs.map(({ name, value }) => `${name} = ${nameOf(value)}`),
  ].join('\n') + '\n'
}

export function typeOf({ type, shape }: Pick<Value, 'type' | 'shape'>): string {
  return `${type}[${shape.join(', ')}]`
}
