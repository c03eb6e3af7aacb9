/** How a window moves over the spatial axes of an image or a volume, and the layouts of tfjs and ONNX. */
import * as tf from '../tf.js'
import type { Value } from '../graph.js'
import { at, numbersAttribute, type KernelAttributes } from './kernel.js'
import { transposed } from './shape.js'

type Pair = [number, number]
type Triple = [number, number, number]
type Shape4 = [number, number, number, number]
type Shape5 = [number, number, number, number, number]
type Pad = 'same' | 'valid'
type Rounding = 'floor' | 'round' | 'ceil'

/** Lists have one entry a spatial axis. */
export interface Window {
  size: number[]
  strides: number[]
  dilations: number[]
  input: number[]
  output: number[]
  /** Rows in front of the first of the input. */
  before: number[]
  channelsFirst: boolean
  channels: { input: number; output: number }
}

/** ONNX's `pads`: behind the input exactly what the last window reaches for. */
export function padsOf({ size, strides, dilations, input, output, before }: Window): number[] {
  const after = size.map((rows, axis) => {
    const reach = at(strides, axis) * (at(output, axis) - 1) + at(dilations, axis) * (rows - 1) + 1
    return Math.max(0, reach - at(input, axis) - at(before, axis))
  })
  return [...before, ...after]
}

/** The window of a convolution of x [N, …, C] (or [N, C, …]) with a filter [k…, C, O], or [k…, C, Q] where each channel has its own. */
export function convolutionWindow(x: readonly number[], filter: readonly number[], attributes: KernelAttributes, depthwise = false): Window {
  const { strides, pad, rounding, dilations } = settings(attributes)
  if (x.length === 5) {
    const format = attributes.dataFormat === 'NCDHW' ? 'channelsFirst' : 'channelsLast'
    return volume(tf.backend_util.computeConv3DInfo(x as Shape5, filter as Shape5, triple(strides), triple(dilations), pad, false, format, rounding))
  }
  const format = attributes.dataFormat === 'NCHW' ? 'channelsFirst' : 'channelsLast'
  return plane(tf.backend_util.computeConv2DInfo(x as Shape4, filter as Shape4, pair(strides), pair(dilations), pad, rounding, depthwise, format))
}

/** The window of a pool over x [N, …, C]. */
export function poolWindow(x: readonly number[], attributes: KernelAttributes): Window {
  const { strides, pad, rounding, dilations } = settings(attributes)
  const size = numbersAttribute(attributes, 'filterSize')
  if (x.length === 5) return volume(tf.backend_util.computePool3DInfo(x as Shape5, triple(size), triple(strides), 1, pad, rounding))
  return plane(tf.backend_util.computePool2DInfo(x as Shape4, pair(size), pair(strides), pair(dilations), pad, rounding))
}

const pair = ([first = 1, second = first]: number[]): Pair => [first, second]
const triple = ([first = 1, second = first, third = second]: number[]): Triple => [first, second, third]

function settings(attributes: KernelAttributes) {
  return {
    strides: numbersAttribute(attributes, 'strides'),
    dilations: attributes.dilations === undefined || attributes.dilations === null ? [1, 1, 1] : numbersAttribute(attributes, 'dilations'),
    pad: attributes.pad as Pad,
    rounding: (attributes.dimRoundingMode ?? undefined) as Rounding,
  }
}

function plane(info: tf.backend_util.Conv2DInfo): Window {
  return {
    size: [info.filterHeight, info.filterWidth], strides: [info.strideHeight, info.strideWidth],
    dilations: [info.dilationHeight, info.dilationWidth], input: [info.inHeight, info.inWidth],
    output: [info.outHeight, info.outWidth], before: [info.padInfo.top, info.padInfo.left],
    channelsFirst: info.dataFormat === 'channelsFirst', channels: { input: info.inChannels, output: info.outChannels },
  }
}

function volume(info: tf.backend_util.Conv3DInfo): Window {
  return {
    size: [info.filterDepth, info.filterHeight, info.filterWidth], strides: [info.strideDepth, info.strideHeight, info.strideWidth],
    dilations: [info.dilationDepth, info.dilationHeight, info.dilationWidth], input: [info.inDepth, info.inHeight, info.inWidth],
    output: [info.outDepth, info.outHeight, info.outWidth], before: [info.padInfo.front, info.padInfo.top, info.padInfo.left],
    channelsFirst: info.dataFormat === 'channelsFirst', channels: { input: info.inChannels, output: info.outChannels },
  }
}

const spatialAxes = (x: Value, from: number) => Array.from({ length: x.shape.length - 2 }, (_, axis) => from + axis)

/** [N, …, C] to [N, C, …]; nothing to do where the channels come first already. */
export function toChannelsFirst(x: Value, already = false): Value {
  return already ? x : transposed(x, [0, x.shape.length - 1, ...spatialAxes(x, 1)])
}

/** [N, C, …] to [N, …, C]. */
export function toChannelsLast(x: Value, keep = false): Value {
  return keep ? x : transposed(x, [0, ...spatialAxes(x, 2), 1])
}

/** [k…, C, O] to [O, C, k…]. */
export function toWeights(filter: Value): Value {
  const rank = filter.shape.length
  return transposed(filter, [rank - 1, rank - 2, ...spatialAxes(filter, 0)])
}
