/** Strides, mirrors, diagonals and blocks: shape operations of more than one node. */
import * as tf from '../tf.js'
import { constant, emitOne, int64, reshaped, sizeOf, type Value } from '../graph.js'
import { broadcastShape, where } from './elementwise.js'
import { at, numberAttribute, numbersAttribute, take, type KernelTable } from './kernel.js'
import { filled, shapes, transposed } from './shape.js'

type Paddings = readonly (readonly [number, number])[]

const slice = (x: Value, begin: readonly number[], size: readonly number[]) => shapes.Slice?.({ x }, { begin, size }) as Value

/** A shape that is itself a tensor: known only where it is not computed. */
function numbersOf(value: Value): number[] {
  if (value.origin.kind !== 'constant') throw new Error('a shape must be known while the graph is recorded')
  return Array.from(value.origin.data, Number)
}

export const rearrangements: KernelTable = {
  StridedSlice: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const [begin, end, strides] = ['begin', 'end', 'strides'].map(name => numbersAttribute(attributes, name)) as [number[], number[], number[]]
    const [beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask] = ['beginMask', 'endMask', 'ellipsisMask', 'newAxisMask', 'shrinkAxisMask']
      .map(name => numberAttribute(attributes, name)) as [number, number, number, number, number]
    const cut = tf.slice_util.sliceInfo([...x.shape], begin, end, strides, beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask)
    if (cut.isIdentity) return reshaped(x, cut.finalShape)
    if (sizeOf(cut.finalShape) === 0) return filled(x.type, cut.finalShape, 0)
    // Backwards, an end of -1 lies before the first; ONNX would count it from the last. An untouched axis may be free at run time.
    const axes = x.shape.flatMap((size, axis) => (cut.strides[axis] === 1 && cut.begin[axis] === 0 && cut.end[axis] === size ? [] : [axis]))
    const ends = axes.map(axis => (at(cut.end, axis) < 0 ? -(2 ** 31) : at(cut.end, axis)))
    const [starts, steps] = [cut.begin, cut.strides].map(list => int64(axes.map(axis => at(list, axis)))) as [Value, Value]
    return reshaped(emitOne({ op: 'Slice', inputs: [x, starts, int64(ends), int64(axes), steps] }, cut.finalShapeSparse), cut.finalShape)
  },
  /** `reflect` leaves the edge out of the mirror image, `symmetric` repeats it. */
  MirrorPad: (inputs, attributes) => {
    const edge = attributes.mode === 'reflect' ? 0 : 1
    return (attributes.paddings as Paddings).reduce((x, [before, after], axis) => {
      if (before === 0 && after === 0) return x
      const size = at(x.shape, axis)
      const places = Int32Array.from({ length: before + size + after }, (_, index) => {
        const place = index - before
        return place < 0 ? -place - edge : place >= size ? 2 * (size - 1) - place + edge : place
      })
      const indices = constant('int32', [places.length], places)
      return emitOne({ op: 'Gather', inputs: [x, indices], attributes: { axis } }, x.shape.with(axis, places.length))
    }, take(inputs, 'x'))
  },
  /** x [S…] on the diagonal of [S…, S…]. */
  Diag: inputs => {
    const x = take(inputs, 'x')
    const size = sizeOf(x.shape)
    const diagonal = constant('bool', [size, size], Uint8Array.from({ length: size * size }, (_, index) => (index % (size + 1) === 0 ? 1 : 0)))
    return reshaped(where(diagonal, reshaped(x, [size]), filled(x.type, [], 0)), [...x.shape, ...x.shape])
  },
  BroadcastArgs: inputs => {
    const shape = broadcastShape(numbersOf(take(inputs, 's0')), numbersOf(take(inputs, 's1')))
    return constant('int32', [shape.length], Int32Array.from(shape))
  },
  /** Channels [N, H, W, b · b · C] to blocks of b by b pixels [N, b · H, b · W, C]. */
  DepthToSpace: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const block = numberAttribute(attributes, 'blockSize')
    if (attributes.dataFormat !== 'NHWC') throw new Error(`Only NHWC dataFormat supported on CPU for depthToSpace. Got ${String(attributes.dataFormat)}`)
    const [batch, height, width, depth] = x.shape as [number, number, number, number]
    const channels = depth / (block * block)
    const apart = transposed(reshaped(x, [batch, height, width, block, block, channels]), [0, 1, 3, 2, 4, 5])
    return reshaped(apart, [batch, height * block, width * block, channels])
  },
  SpaceToBatchND: (inputs, attributes) => {
    const given = take(inputs, 'x')
    const block = numbersAttribute(attributes, 'blockShape')
    const inner = attributes.paddings as Paddings
    const paddings = given.shape.map((_, axis) => inner[axis - 1] ?? [0, 0])
    const x = shapes.PadV2?.({ x: given }, { paddings, constantValue: 0 }) as Value
    const blocks = reshaped(x, tf.backend_util.getReshaped([...x.shape], block, sizeOf(block), false))
    const turned = transposed(blocks, tf.backend_util.getPermuted(blocks.shape.length, block.length, false))
    return reshaped(turned, tf.backend_util.getReshapedPermuted([...x.shape], block, sizeOf(block), false))
  },
  BatchToSpaceND: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const block = numbersAttribute(attributes, 'blockShape')
    const crops = attributes.crops as number[][]
    const blocks = reshaped(x, tf.backend_util.getReshaped([...x.shape], block, sizeOf(block)))
    const turned = transposed(blocks, tf.backend_util.getPermuted(blocks.shape.length, block.length))
    const shape = tf.backend_util.getReshapedPermuted([...x.shape], block, sizeOf(block))
    const size = tf.backend_util.getSliceSize(shape, crops, block.length)
    return slice(reshaped(turned, shape), tf.backend_util.getSliceBeginCoords(crops, block.length), size)
  },
}
