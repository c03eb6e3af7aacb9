/** Normalisation with statistics that are given, or of the neighbouring channels. */
import { constant, emitOne, float32, type Value } from '../graph.js'
import { binary, unary } from './elementwise.js'
import { at, numberAttribute, take, type KernelAttributes, type KernelTable } from './kernel.js'

/** x [..., C] summed over each channel and the `depthRadius` ones on both sides of it. */
function overNeighbours(x: Value, attributes: KernelAttributes): Value {
  const radius = numberAttribute(attributes, 'depthRadius')
  const channels = at(x.shape, x.shape.length - 1)
  const near = (index: number) => Math.abs(Math.floor(index / channels) - index % channels) <= radius
  const band = Float32Array.from({ length: channels * channels }, (_, index) => (near(index) ? 1 : 0))
  return emitOne({ op: 'MatMul', inputs: [x, constant('float32', [channels, channels], band)] }, x.shape)
}

/** bias + alpha · Σ x² over the neighbours. */
function energy(x: Value, attributes: KernelAttributes): Value {
  const scaled = binary('Mul', overNeighbours(binary('Mul', x, x), attributes), float32(numberAttribute(attributes, 'alpha')))
  return binary('Add', scaled, float32(numberAttribute(attributes, 'bias')))
}

export const normalisations: KernelTable = {
  FusedBatchNorm: (inputs, attributes) => {
    const [x, mean, variance] = [take(inputs, 'x'), take(inputs, 'mean'), take(inputs, 'variance')]
    const deviation = unary('Sqrt', binary('Add', variance, float32(numberAttribute(attributes, 'varianceEpsilon'))))
    const scale = inputs.scale ? binary('Div', inputs.scale, deviation) : binary('Div', float32(1), deviation)
    const scaled = binary('Mul', binary('Sub', x, mean), scale)
    return inputs.offset ? binary('Add', scaled, inputs.offset) : scaled
  },
  LRN: (inputs, attributes) => {
    const x = take(inputs, 'x')
    return binary('Mul', x, binary('Pow', energy(x, attributes), float32(-numberAttribute(attributes, 'beta'))))
  },
  LRNGrad: (inputs, attributes) => {
    const [x, y, dy] = [take(inputs, 'x'), take(inputs, 'y'), take(inputs, 'dy')]
    const [alpha, beta] = [numberAttribute(attributes, 'alpha'), numberAttribute(attributes, 'beta')]
    const whole = energy(x, attributes)
    const own = binary('Mul', dy, binary('Pow', whole, float32(-beta)))
    const others = overNeighbours(binary('Div', binary('Mul', dy, y), whole), attributes)
    return binary('Sub', own, binary('Mul', binary('Mul', float32(2 * alpha * beta), x), others))
  },
}
