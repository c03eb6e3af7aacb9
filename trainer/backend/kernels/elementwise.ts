/** Operations on each element, with NumPy's broadcasting where there are two inputs. */
import { elementTypes, emitOne, float32, constant, reshaped, type ElementType, type Value } from '../graph.js'
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
  return emitOne({ op: 'Cast', inputs: [x], attributes: { to: elementTypes[type] } }, x.shape, type)
}

const ofOne = (op: string): Kernel => inputs => unary(op, take(inputs, 'x'))
/** Integers become real numbers first. */
const ofReal = (op: string): Kernel => inputs => unary(op, cast(take(inputs, 'x'), 'float32'))
/** What maps integers to themselves. */
const ofFraction = (op: string): Kernel => inputs => {
  const x = take(inputs, 'x')
  return x.type === 'float32' ? unary(op, x) : x
}
const test = (op: string): Kernel => inputs => emitOne({ op, inputs: [cast(take(inputs, 'x'), 'float32')] }, take(inputs, 'x').shape, 'bool')
const ofTwo = (op: string): Kernel => inputs => binary(op, take(inputs, 'a'), take(inputs, 'b'))
const comparison = (op: string): Kernel => inputs => binary(op, take(inputs, 'a'), take(inputs, 'b'), 'bool')

export function where(condition: Value, yes: Value, no: Value): Value {
  // ORT's Where has no kernel for booleans.
  if (yes.type === 'bool') return binary('Or', binary('And', condition, yes), binary('And', unary('Not', condition), no))
  return emitOne({ op: 'Where', inputs: [condition, yes, no] }, broadcastShape(condition.shape, broadcastShape(yes.shape, no.shape)), yes.type)
}

const likeOf = (x: Value, value: number): Value =>
  x.type === 'int32' ? constant('int32', [], Int32Array.of(value)) : float32(value)

export const elementwise: KernelTable = {
  Abs: ofOne('Abs'),
  Neg: ofOne('Neg'),
  Relu: ofOne('Relu'),
  Ceil: ofFraction('Ceil'),
  Floor: ofFraction('Floor'),
  Round: ofFraction('Round'),
  Acos: ofReal('Acos'),
  Acosh: ofReal('Acosh'),
  Asin: ofReal('Asin'),
  Asinh: ofReal('Asinh'),
  Atan: ofReal('Atan'),
  Atanh: ofReal('Atanh'),
  Cos: ofReal('Cos'),
  Cosh: ofReal('Cosh'),
  Elu: ofReal('Elu'),
  Erf: ofReal('Erf'),
  Exp: ofReal('Exp'),
  Log: ofReal('Log'),
  Sigmoid: ofReal('Sigmoid'),
  Sin: ofReal('Sin'),
  Sinh: ofReal('Sinh'),
  Softplus: ofReal('Softplus'),
  Sqrt: ofReal('Sqrt'),
  Tan: ofReal('Tan'),
  Tanh: ofReal('Tanh'),
  IsNan: test('IsNaN'),
  IsInf: test('IsInf'),
  IsFinite: inputs => unary('Not', binary('Or', test('IsNaN')(inputs, {}) as Value, test('IsInf')(inputs, {}) as Value)),
  /** 0 for what is no number. */
  Sign: inputs => {
    const x = take(inputs, 'x')
    const sign = unary('Sign', x)
    return x.type === 'float32' ? where(emitOne({ op: 'IsNaN', inputs: [x] }, x.shape, 'bool'), float32(0), sign) : sign
  },
  // exp(x) - 1 and log(1 + x) lose all digits near 0: there sinh and asinh keep them.
  Expm1: inputs => {
    const half = binary('Mul', cast(take(inputs, 'x'), 'float32'), float32(0.5))
    return binary('Mul', binary('Mul', float32(2), unary('Exp', half)), unary('Sinh', half))
  },
  Log1p: inputs => {
    const x = cast(take(inputs, 'x'), 'float32')
    const near = binary('Sub', x, binary('Mul', float32(0.5), binary('Mul', x, x)))
    return where(binary('Less', unary('Abs', x), float32(1e-4), 'bool'), near, unary('Log', binary('Add', float32(1), x)))
  },
  Relu6: inputs => {
    const x = take(inputs, 'x')
    return binary('Min', binary('Max', x, likeOf(x, 0)), likeOf(x, 6))
  },
  EluGrad: inputs => {
    const [dy, y] = [take(inputs, 'dy'), take(inputs, 'y')]
    return where(binary('Less', y, float32(0), 'bool'), binary('Mul', dy, binary('Add', y, float32(1))), dy)
  },
  LeakyRelu: (inputs, attributes) => {
    const x = cast(take(inputs, 'x'), 'float32')
    return emitOne({ op: 'LeakyRelu', inputs: [x], attributes: { alpha: { float: numberAttribute(attributes, 'alpha') } } }, x.shape)
  },
  Prelu: inputs => {
    const [x, alpha] = [cast(take(inputs, 'x'), 'float32'), cast(take(inputs, 'alpha'), 'float32')]
    const below = binary('Mul', x, alpha)
    return where(binary('Less', x, likeOf(x, 0), 'bool'), below, x)
  },
  Selu: ofReal('Selu'),
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
  /** The sign of the divisor, as in Python. */
  Mod: inputs => {
    const [a, b] = [take(inputs, 'a'), take(inputs, 'b')]
    if (a.type !== 'float32') return emitOne({ op: 'Mod', inputs: [a, b] }, broadcastShape(a.shape, b.shape))
    return binary('Sub', a, binary('Mul', unary('Floor', binary('Div', a, b)), b))
  },
  FloorDiv: inputs => {
    const quotient = binary('Div', cast(take(inputs, 'a'), 'float32'), cast(take(inputs, 'b'), 'float32'))
    return cast(unary('Floor', quotient), 'int32')
  },
  /** The angle of the point (b, a). */
  Atan2: inputs => {
    const [a, b] = [cast(take(inputs, 'a'), 'float32'), cast(take(inputs, 'b'), 'float32')]
    const zero = (x: Value) => binary('Equal', x, float32(0), 'bool')
    const angle = unary('Atan', binary('Div', a, where(zero(b), float32(0), b)))
    const turn = where(binary('Less', a, float32(0), 'bool'), float32(-Math.PI), float32(Math.PI))
    const any = where(binary('Less', b, float32(0), 'bool'), binary('Add', angle, turn), angle)
    return where(binary('And', zero(a), zero(b), 'bool'), binary('Mul', float32(0), binary('Add', a, b)), any)
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
  /** 1 above zero, `alpha` at and below it, NaN where there is one. */
  Step: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const above = binary('Greater', x, likeOf(x, 0), 'bool')
    const step = where(above, likeOf(x, 1), likeOf(x, numberAttribute(attributes, 'alpha')))
    return x.type === 'float32' ? where(emitOne({ op: 'IsNaN', inputs: [x] }, x.shape, 'bool'), x, step) : step
  },
  Select: inputs => {
    const [condition, yes, no] = [take(inputs, 'condition'), take(inputs, 't'), take(inputs, 'e')]
    // A condition of rank 1 chooses among whole rows.
    const rows = condition.shape.length === 1 ? reshaped(condition, [...condition.shape, ...yes.shape.slice(1).map(() => 1)]) : condition
    return where(rows, yes, no)
  },
  Cast: (inputs, attributes) => {
    const to = attributes.dtype
    if (to !== 'float32' && to !== 'int32' && to !== 'bool') throw new Error(`cannot cast to ${String(to)}`)
    return cast(take(inputs, 'x'), to)
  },
}
