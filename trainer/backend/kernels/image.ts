/** Images [N, H, W, C] at another size: linear along each axis, so a product with a constant matrix an axis; its gradient is the transpose. */
import { constant, emitOne, reshaped, type Value } from '../graph.js'
import { cast } from './elementwise.js'
import { at, numbersAttribute, take, type KernelAttributes, type KernelTable } from './kernel.js'
import { flipped } from './shape.js'

/** What each of the `to` places takes from the `from` places: pairs of place and weight. */
type Interpolation = (from: number, to: number, attributes: KernelAttributes) => (readonly (readonly [place: number, weight: number])[])[]

/** Where each place of the output lies in the input, in pixels from the first; `half` sees pixels by their centres. */
function sources(from: number, to: number, { alignCorners, halfPixelCenters }: KernelAttributes, shift: number): number[] {
  const scale = alignCorners === true && to > 1 ? (from - 1) / (to - 1) : from / to
  return Array.from({ length: to }, (_, place) => (halfPixelCenters === true ? scale * (place + 0.5) - shift : scale * place))
}

const bilinear: Interpolation = (from, to, attributes) => sources(from, to, attributes, 0.5).map(source => {
  const [low, high] = [Math.max(0, Math.floor(source)), Math.min(from - 1, Math.ceil(source))]
  return [[low, 1 - (source - low)], [high, source - low]]
})

const nearest: Interpolation = (from, to, attributes) => sources(from, to, attributes, 0).map(source => {
  const place = attributes.alignCorners === true ? Math.round(source) : Math.floor(source)
  return [[Math.min(from - 1, Math.max(0, place)), 1]]
})

/** [to, from], or its transpose [from, to]. */
function matrix(interpolation: Interpolation, from: number, to: number, attributes: KernelAttributes, turned: boolean): Value {
  const data = new Float32Array(to * from)
  interpolation(from, to, attributes).forEach((taken, row) => {
    for (const [column, weight] of taken) {
      const index = turned ? column * to + row : row * from + column
      data[index] = (data[index] ?? 0) + weight
    }
  })
  return constant('float32', turned ? [from, to] : [to, from], data)
}

/** rows [H', H] and columns [W', W] applied to images [N, H, W, C]: [N, H', W', C]. */
function applied(rows: Value, columns: Value, images: Value): Value {
  const [batch, height, width, channels] = images.shape as [number, number, number, number]
  const [toHeight, toWidth] = [at(rows.shape, 0), at(columns.shape, 0)]
  const flat = reshaped(images, [batch, height, width * channels])
  const tall = emitOne({ op: 'MatMul', inputs: [rows, flat] }, [batch, toHeight, width * channels])
  const image = reshaped(tall, [batch, toHeight, width, channels])
  return emitOne({ op: 'MatMul', inputs: [columns, image] }, [batch, toHeight, toWidth, channels])
}

const gradient = (interpolation: Interpolation) => (dy: Value, images: Value, attributes: KernelAttributes): Value => {
  const side = (axis: number) => matrix(interpolation, at(images.shape, axis), at(dy.shape, axis), attributes, true)
  return applied(side(1), side(2), dy)
}

export const images: KernelTable = {
  ResizeBilinear: (inputs, attributes) => {
    const x = cast(take(inputs, 'images'), 'float32')
    const size = numbersAttribute(attributes, 'size')
    const side = (axis: number) => matrix(bilinear, at(x.shape, axis + 1), at(size, axis), attributes, false)
    return applied(side(0), side(1), x)
  },
  ResizeBilinearGrad: (inputs, attributes) => gradient(bilinear)(take(inputs, 'dy'), take(inputs, 'images'), attributes),
  ResizeNearestNeighbor: (inputs, attributes) => numbersAttribute(attributes, 'size').reduce((x, size, side) => {
    const places = nearest(at(x.shape, side + 1), size, attributes).map(([taken]) => taken?.[0] ?? 0)
    const indices = constant('int32', [size], Int32Array.from(places))
    return emitOne({ op: 'Gather', inputs: [x, indices], attributes: { axis: side + 1 } }, x.shape.with(side + 1, size))
  }, take(inputs, 'images')),
  ResizeNearestNeighborGrad: (inputs, attributes) => gradient(nearest)(take(inputs, 'dy'), take(inputs, 'images'), attributes),
  FlipLeftRight: inputs => flipped(take(inputs, 'image'), [2]),
}
