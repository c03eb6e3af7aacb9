/** Images [N, H, W, C] read at computed places: transforms, rotations, crops. */
import * as tf from '../tf.js'
import { constant, emit, emitOne, float32, int64, reshaped, type Value } from '../graph.js'
import { binary, cast, unary, where } from './elementwise.js'
import { at, numberAttribute, numbersAttribute, take, type KernelTable } from './kernel.js'

const plus = (a: Value, b: Value) => binary('Add', a, b)
const minus = (a: Value, b: Value) => binary('Sub', a, b)
const times = (a: Value, b: Value) => binary('Mul', a, b)
const below = (a: Value, b: Value) => binary('Less', a, b, 'bool')
const and = (a: Value, b: Value) => binary('And', a, b, 'bool')
const clamped = (x: Value, size: number) => binary('Min', binary('Max', x, float32(0)), float32(size - 1))
/** Half a pixel upwards, as JavaScript rounds. */
const rounded = (x: Value) => unary('Floor', plus(x, float32(0.5)))
const inside = (x: Value, size: number) => and(binary('GreaterOrEqual', x, float32(0), 'bool'), binary('LessOrEqual', x, float32(size - 1), 'bool'))
const withChannel = (x: Value) => reshaped(x, [...x.shape, 1])

/** Pixels at whole rows y and columns x, [A, h, w] together, `fill` where there is none: [N, h, w, C]. A is N, or 1: the same places in all. */
function pixels(images: Value, y: Value, x: Value, fill: Value): Value {
  const [batch, height, width, channels] = images.shape as [number, number, number, number]
  const known = and(inside(y, height), inside(x, width))
  const place = plus(times(cast(clamped(y, height), 'int64'), constant('int64', [], BigInt64Array.of(BigInt(width)))), cast(clamped(x, width), 'int64'))
  const [all, ...size] = place.shape
  const flat = reshaped(images, [batch, height * width, channels])
  const read = all === 1
    ? emitOne({ op: 'Gather', inputs: [flat, reshaped(place, size)], attributes: { axis: 1 } }, [batch, ...size, channels])
    : emitOne({ op: 'GatherND', inputs: [flat, withChannel(place)], attributes: { batch_dims: 1 } }, [batch, ...size, channels])
  return where(withChannel(known), read, fill)
}

/** Images at rows y and columns x between the pixels. */
function sampled(images: Value, y: Value, x: Value, method: unknown, fill: Value): Value {
  if (method === 'nearest') return pixels(images, rounded(y), rounded(x), fill)
  if (method !== 'bilinear') throw new Error(`Error in Transform: Expect 'nearest' or 'bilinear', but got ${String(method)}`)
  const [top, left] = [unary('Floor', y), unary('Floor', x)]
  const [bottom, right] = [plus(top, float32(1)), plus(left, float32(1))]
  const [down, along] = [withChannel(minus(y, top)), withChannel(minus(x, left))]
  const row = (at: Value) =>
    plus(times(withChannel(minus(right, x)), pixels(images, at, left, fill)), times(along, pixels(images, at, right, fill)))
  return plus(times(withChannel(minus(bottom, y)), row(top)), times(down, row(bottom)))
}

/** What a coordinate outside of [0, size) stands for. */
const fillModes: Readonly<Record<string, (x: Value, size: number) => Value>> = {
  constant: x => x,
  nearest: clamped,
  /** abcd as dcba|abcd|dcba. */
  reflect: (x, size) => {
    const mirrored = binary('Max', where(below(x, float32(0)), minus(float32(-1), x), x), float32(0))
    const folded = minus(mirrored, times(float32(2 * size), unary('Floor', binary('Div', mirrored, float32(2 * size)))))
    return clamped(where(below(folded, float32(size)), folded, minus(float32(2 * size - 1), folded)), size)
  },
  /** abcd as abcd|abcd|abcd. */
  wrap: (x, size) => {
    if (size === 1) return times(x, float32(0))
    const turns = unary('Floor', binary('Div', unary('Abs', x), float32(size - 1)))
    const before = plus(x, times(float32(size), plus(turns, float32(1))))
    const after = minus(x, times(float32(size), turns))
    return clamped(where(below(x, float32(0)), before, where(below(float32(size - 1), x), after, x)), size)
  },
}

function ramp(size: number, shape: readonly number[]): Value {
  return constant('float32', shape, Float32Array.from({ length: size }, (_, index) => index))
}

export const samples: KernelTable = {
  /** `transforms` [N or 1, 8] take a place of the output to one of the input: (a₀x + a₁y + a₂, a₃x + a₄y + a₅) / (a₆x + a₇y + 1). */
  Transform: (inputs, attributes) => {
    const [image, transforms] = [take(inputs, 'image'), take(inputs, 'transforms')]
    const [, height, width] = image.shape as [number, number, number]
    const given = attributes.outputShape
    const [toHeight = 1, toWidth = 1] = given === undefined || given === null ? [height, width] : numbersAttribute(attributes, 'outputShape')
    const count = at(transforms.shape, 0)
    const whole = emitOne({ op: 'Pad', inputs: [transforms, int64([0, 0, 0, 1]), float32(1)] }, [count, 9])
    const area = toHeight * toWidth
    const grid = Float32Array.from({ length: 3 * area }, (_, index) => {
      const place = index % area
      return [place % toWidth, Math.floor(place / toWidth), 1][Math.floor(index / area)] ?? 0
    })
    const moved = emitOne({ op: 'MatMul', inputs: [reshaped(whole, [count, 3, 3]), constant('float32', [3, area], grid)] }, [count, 3, area])
    const rows = emit({ op: 'Split', inputs: [moved], attributes: { axis: 1 } }, [0, 1, 2].map(() => ({ type: 'float32', shape: [count, 1, area] })))
    const [x, y, depth] = rows.map(row => reshaped(row, [count, toHeight, toWidth])) as [Value, Value, Value]
    const nowhere = binary('Equal', depth, float32(0), 'bool')
    const divisor = where(nowhere, float32(1), depth)
    const mode = fillModes[String(attributes.fillMode)]
    if (!mode) throw new Error(`there is no fill mode "${String(attributes.fillMode)}"`)
    const fill = float32(numberAttribute(attributes, 'fillValue'))
    const [fromX, fromY] = [mode(binary('Div', x, divisor), width), mode(binary('Div', y, divisor), height)]
    const read = sampled(cast(image, 'float32'), fromY, fromX, attributes.interpolation, fill)
    return cast(where(withChannel(nowhere), fill, read), image.type)
  },
  /** Boxes [B, (y1, x1, y2, x2)] in shares of the image that `boxInd` [B] names: [B, h, w, C]. */
  CropAndResize: (inputs, attributes) => {
    const [image, boxes, boxInd] = [take(inputs, 'image'), take(inputs, 'boxes'), take(inputs, 'boxInd')]
    const count = at(boxes.shape, 0)
    const edges = emit({ op: 'Split', inputs: [boxes], attributes: { axis: 1 } }, [0, 1, 2, 3].map(() => ({ type: 'float32', shape: [count, 1] })))
    const [top, left, bottom, right] = edges.map(edge => reshaped(edge, [count, 1, 1])) as [Value, Value, Value, Value]
    const [toHeight = 1, toWidth = 1] = numbersAttribute(attributes, 'cropSize')
    /** From the first pixel's centre to the last one's; the middle where there is but one. */
    const along = (from: Value, to: Value, size: number, steps: Value, count: number) => (count > 1
      ? plus(times(from, float32(size - 1)), times(steps, times(minus(to, from), float32((size - 1) / (count - 1)))))
      : times(plus(from, to), float32(0.5 * (size - 1))))
    const [height, width] = [at(image.shape, 1), at(image.shape, 2)]
    const y = along(top, bottom, height, ramp(toHeight, [1, toHeight, 1]), toHeight)
    const x = along(left, right, width, ramp(toWidth, [1, 1, toWidth]), toWidth)
    const named = emitOne({ op: 'Gather', inputs: [cast(image, 'float32'), boxInd], attributes: { axis: 0 } }, image.shape.with(0, count))
    const outside = float32(numberAttribute(attributes, 'extrapolationValue'))
    return where(withChannel(and(inside(y, height), inside(x, width))), sampled(named, y, x, attributes.method, outside), outside)
  },
  /** Turned around `center`, a share of width and height; a fill of three values leaves the fourth channel opaque. */
  RotateWithOffset: (inputs, attributes) => {
    const image = take(inputs, 'image')
    const [, height, width, channels] = image.shape as [number, number, number, number]
    const [centerX, centerY] = tf.backend_util.getImageCenter(attributes.center as number, height, width)
    const [sine, cosine] = [Math.sin(numberAttribute(attributes, 'radians')), Math.cos(numberAttribute(attributes, 'radians'))]
    const places = (of: (x: number, y: number) => number) => constant('float32', [1, height, width], Float32Array.from(
      { length: height * width }, (_, index) => Math.round(of(index % width - centerX, Math.floor(index / width) - centerY))))
    const x = places((right, down) => right * cosine - down * sine + centerX)
    const y = places((right, down) => right * sine + down * cosine + centerY)
    const fills = numbersAttribute(attributes, 'fillValue')
    const fill = Float32Array.from({ length: channels }, (_, channel) => (fills.length === 1 ? fills[0] : channel === 3 ? 255 : fills[channel]) ?? 0)
    return pixels(image, y, x, cast(constant('float32', [channels], fill), image.type))
  },
}
