/** Operations on each element, with NumPy's broadcasting where there are two inputs. */
import { emitOne, float32, constant, type ElementType, type Value } from '../graph.js'
import { numberAttribute, take, type Kernel, type KernelTable } from './kernel.js'

export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) => {
    const sizeA = a[axis - rank + a.length] ?? 1
    const sizeB = b[axis - rank + b.length] ?? 1
    if (sizeA !== sizeB && sizeA !== 1 && sizeB !== 1) {
      throw new Error(`the shapes [${a.join(', ')}] and [${b.join(', ')}] do not broadcast`)
    }
    return sizeA === 1 ? sizeB : sizeA
  })
}

export function binary(op: string, a: Value, b: Value, type: ElementType = a.type): Value {
  return emitOne({ op, inputs: [a, b] }, broadcastShape(a.shape, b.shape), type)
}

export function unary(op: string, x: Value): Value {
  return emitOne({ op, inputs: [x] }, x.shape)
}

export function cast(x: Value, type: ElementType): Value {
  if (x.type === type) return x
  const to = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 }[type]
  return emitOne({ op: 'Cast', inputs: [x], attributes: { to } }, x.shape, type)
}

const ofOne = (op: string): Kernel => inputs => unary(op, take(inputs, 'x'))
const ofTwo = (op: string): Kernel => inputs => binary(op, take(inputs, 'a'), take(inputs, 'b'))
const comparison = (op: string): Kernel => inputs => binary(op, take(inputs, 'a'), take(inputs, 'b'), 'bool')

const likeOf = (x: Value, value: number): Value =>
  x.type === 'int32' ? constant('int32', [], Int32Array.of(value)) : float32(value)

export const elementwise: KernelTable = {
  Abs: ofOne('Abs'),
  Ceil: ofOne('Ceil'),
  Cos: ofOne('Cos'),
  Elu: ofOne('Elu'),
  Erf: ofOne('Erf'),
  Exp: ofOne('Exp'),
  Floor: ofOne('Floor'),
  Log: ofOne('Log'),
  Neg: ofOne('Neg'),
  Relu: ofOne('Relu'),
  Round: ofOne('Round'),
  Sigmoid: ofOne('Sigmoid'),
  Sign: ofOne('Sign'),
  Sin: ofOne('Sin'),
  Softplus: ofOne('Softplus'),
  Sqrt: ofOne('Sqrt'),
  Tanh: ofOne('Tanh'),
  Identity: inputs => take(inputs, 'x'),
  Rsqrt: inputs => binary('Div', float32(1), unary('Sqrt', take(inputs, 'x'))),
  Reciprocal: inputs => binary('Div', float32(1), take(inputs, 'x')),
  Square: inputs => binary('Mul', take(inputs, 'x'), take(inputs, 'x')),
  LogicalNot: ofOne('Not'),

  Add: ofTwo('Add'),
  Sub: ofTwo('Sub'),
  Multiply: ofTwo('Mul'),
  RealDiv: ofTwo('Div'),
  Maximum: ofTwo('Max'),
  Minimum: ofTwo('Min'),
  Pow: ofTwo('Pow'),
  LogicalAnd: ofTwo('And'),
  LogicalOr: ofTwo('Or'),
  SquaredDifference: inputs => {
    const difference = binary('Sub', take(inputs, 'a'), take(inputs, 'b'))
    return binary('Mul', difference, difference)
  },
  AddN: inputs => Object.values(inputs).reduce((sum, term) => binary('Add', sum, term)),

  Equal: comparison('Equal'),
  NotEqual: inputs => unary('Not', binary('Equal', take(inputs, 'a'), take(inputs, 'b'), 'bool')),
  Greater: comparison('Greater'),
  GreaterEqual: comparison('GreaterOrEqual'),
  Less: comparison('Less'),
  LessEqual: comparison('LessOrEqual'),

  ClipByValue: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const [low, high] = ['clipValueMin', 'clipValueMax'].map(name => likeOf(x, numberAttribute(attributes, name)))
    return binary('Min', binary('Max', x, low ?? x), high ?? x)
  },
  /** 1 above zero, `alpha` at and below it. */
  Step: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const above = binary('Greater', x, likeOf(x, 0), 'bool')
    return emitOne({ op: 'Where', inputs: [above, float32(1), float32(numberAttribute(attributes, 'alpha'))] }, x.shape, 'float32')
  },
  Select: inputs => {
    const [condition, yes, no] = [take(inputs, 'condition'), take(inputs, 't'), take(inputs, 'e')]
    const shape = broadcastShape(condition.shape, broadcastShape(yes.shape, no.shape))
    return emitOne({ op: 'Where', inputs: [condition, yes, no] }, shape, yes.type)
  },
  Cast: (inputs, attributes) => {
    const to = attributes.dtype
    if (to !== 'float32' && to !== 'int32' && to !== 'bool') throw new Error(`cannot cast to ${String(to)}`)
    return cast(take(inputs, 'x'), to)
  },
}
