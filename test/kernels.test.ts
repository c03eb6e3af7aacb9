import { beforeEach, describe, expect, test } from 'vitest'
import { InferenceSession, Tensor } from '../trainer/backend/onnxruntime.js'
import * as tf from '../trainer/backend/tf.js'
import { backend, backendName, registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import { input } from '../trainer/backend/graph.js'
import { jit, trace } from '../trainer/backend/jit.js'
import { lower } from '../trainer/backend/lower.js'
import { rewritten } from '../trainer/backend/rewrite.js'
import { draw, expectSame, on } from './both-backends.js'

registerOnnxRuntimeBackend()
beforeEach(async () => { await tf.setBackend(backendName) })

const images = (shape: [number, number, number, number], seed = 1) => draw(shape, seed) as tf.Tensor4D
const kernel = (name: string, inputs: Record<string, tf.Tensor>, attributes: Record<string, unknown>) =>
  tf.engine().runKernel(name, inputs, attributes as never)

describe('kernels that no spec of tfjs reaches', () => {
  test('LogSoftmax, which tfjs itself makes of other kernels', async () => {
    const got = await on(backendName, () => ({ result: kernel('LogSoftmax', { logits: draw([3, 5], 1) }, { axis: -1 }) as tf.Tensor }))
    const expected = await on('cpu', () => ({ result: tf.logSoftmax(draw([3, 5], 1)) }))
    got.result?.forEach((value, index) => { expect(value).toBeCloseTo(expected.result?.[index] ?? Number.NaN, 5) })
  })
  test.each([[0, 0.5], [[10, 20, 30], [0.2, 0.7]]] as const)('RotateWithOffset filled with %j around %j', async (fill, center) => {
    await expectSame(() => ({
      result: tf.image.rotateWithOffset(images([2, 5, 7, 4]), 0.7, fill as number, center as number),
    }))
  })
})

describe('convolutions and pools agree with the cpu backend, and so do their gradients', () => {
  const windows = [
    { strides: 1, pad: 'same' }, { strides: 1, pad: 'valid' }, { strides: 2, pad: 'same' }, { strides: 2, pad: 'valid' },
    { strides: [3, 2], pad: 'same' }, { strides: 2, pad: 1 }, { strides: [2, 1], pad: [[0, 0], [1, 0], [1, 1], [0, 0]] },
  ] as { strides: number | [number, number]; pad: 'same' | 'valid' | number }[]
  const both = (fn: (x: tf.Tensor, filter: tf.Tensor) => tf.Tensor, x: () => tf.Tensor, filter: () => tf.Tensor) => () => {
    const weighed = (a: tf.Tensor, b: tf.Tensor) => {
      const made = fn(a, b)
      return tf.sum(tf.mul(made, draw(made.shape, 9)))
    }
    const [dx, dFilter] = tf.grads(weighed as never)([x(), filter()])
    return { value: fn(x(), filter()), dx, dFilter } as Record<string, tf.Tensor>
  }
  test.each(windows)('strides $strides, pad $pad', async ({ strides, pad }) => {
    const x = () => images([2, 7, 8, 3])
    await expectSame(both((a, filter) => tf.conv2d(a as tf.Tensor4D, filter as tf.Tensor4D, strides, pad), x, () => draw([3, 2, 3, 4], 2)))
    await expectSame(both((a, filter) => tf.depthwiseConv2d(a as tf.Tensor4D, filter as tf.Tensor4D, strides, pad), x, () => draw([3, 2, 3, 2], 2)))
    await expectSame(both((a, scale) => tf.maxPool(tf.mul(a, scale) as tf.Tensor4D, [3, 2], strides, pad), x, () => draw([3], 2)))
    await expectSame(both((a, scale) => tf.avgPool(tf.mul(a, scale) as tf.Tensor4D, [3, 2], strides, pad), x, () => draw([3], 2)))
  })
  test('volumes', async () => {
    const x = () => draw([2, 4, 5, 6, 2], 1)
    await expectSame(both((a, filter) => tf.conv3d(a as tf.Tensor5D, filter as tf.Tensor5D, 2, 'same'), x, () => draw([2, 3, 2, 2, 3], 2)))
    await expectSame(both((a, scale) => tf.maxPool3d(tf.mul(a, scale) as tf.Tensor5D, 2, 2, 'same'), x, () => draw([2], 2)))
    await expectSame(both((a, scale) => tf.avgPool3d(tf.mul(a, scale) as tf.Tensor5D, 2, 2, 'valid'), x, () => draw([2], 2)))
  })
})

describe('images', () => {
  const sizes = [[9, 4], [3, 11], [5, 6], [1, 1]] as [number, number][]
  test.each(sizes)('resized to %i by %i: value and gradient', async (height, width) => {
    for (const resize of [tf.image.resizeBilinear, tf.image.resizeNearestNeighbor]) {
      for (const [alignCorners, halfPixels] of [[false, false], [true, false]]) {
        const resized = (x: tf.Tensor) => resize(x as tf.Tensor4D, [height, width], alignCorners, halfPixels)
        // The gradient of one image: tfjs's cpu backend takes that of the second from the wrong place.
        await expectSame(() => ({
          value: resized(images([2, 5, 5, 3])),
          gradient: tf.grad(x => tf.sum(tf.mul(resized(x), images([1, height, width, 3], 2))))(images([1, 5, 5, 3])),
        }))
      }
      await expectSame(() => ({ centred: resize(images([2, 5, 5, 3]), [height, width], false, true) }))
    }
  })
  test('with pixels seen by their centres, the gradient is the transpose of the resize', async () => {
    const resized = (x: tf.Tensor) => tf.image.resizeBilinear(x as tf.Tensor4D, [3, 8], false, true)
    const { forward = [], backward = [] } = await on(backendName, () => {
      const [x, dy] = [images([1, 5, 5, 1]), images([1, 3, 8, 1], 2)]
      return { forward: tf.sum(tf.mul(resized(x), dy)), backward: tf.sum(tf.mul(x, tf.grad(a => tf.sum(tf.mul(resized(a), dy)))(x))) }
    })
    expect(forward[0]).toBeCloseTo(backward[0] ?? Number.NaN, 4)
  })
  test.each(['constant', 'reflect', 'wrap', 'nearest'] as const)('transformed, with %s beyond the edge', async mode => {
    const transforms = () => tf.tensor2d([[0.8, -0.4, 1.3, 0.5, 0.9, -2.2, 0.01, 0.02]])
    for (const method of ['nearest', 'bilinear'] as const) {
      // One image: tfjs's cpu backend stops after the first.
      await expectSame(() => ({ result: tf.image.transform(images([1, 6, 7, 2]), transforms(), method, mode, 0.3, [8, 9]) }), 1e-3)
    }
  })
  test('every image of a batch is transformed, by a transform of its own or by the one for all', async () => {
    const shifts = [[1, 0, 1, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 2, 0, 0]]
    const moved = (x: tf.Tensor4D, rows: number[][]) => tf.image.transform(x, tf.tensor2d(rows), 'nearest')
    const one = (index: number) => tf.slice(images([2, 4, 4, 1]), [index, 0, 0, 0], [1, 4, 4, 1])
    const { own, each, shared, alike } = await on(backendName, () => ({
      own: moved(images([2, 4, 4, 1]), shifts), each: tf.concat([0, 1].map(index => moved(one(index), [shifts[index] ?? []]))),
      shared: moved(images([2, 4, 4, 1]), shifts.slice(0, 1)), alike: tf.concat([0, 1].map(index => moved(one(index), shifts.slice(0, 1)))),
    }))
    expect([own, shared]).toEqual([each, alike])
  })
})

test('segments: ids outside of them count nowhere, and the same place twice adds up', async () => {
  const { result } = await on(backendName, () => ({
    result: tf.unsortedSegmentSum(tf.tensor2d([[1, 2], [3, 4], [5, 6], [7, 8]]), tf.tensor1d([1, -1, 1, 5], 'int32'), 3),
  }))
  expect(result).toEqual([0, 0, 6, 8, 0, 0])
})

test('the same seed draws the same, classes as often as they are likely', async () => {
  const logits = () => tf.log(tf.tensor2d([[0.7, 0.1, 0.2]]))
  const drawn = (seed: number) => on(backendName, () => ({ result: tf.multinomial(logits(), 4000, seed) }))
  const { result = [] } = await drawn(3)
  expect((await drawn(3)).result).toEqual(result)
  expect((await drawn(0.3)).result).not.toEqual((await drawn(0.4)).result)
  const shares = [0, 1, 2].map(index => result.filter(value => value === index).length / result.length)
  ;[0.7, 0.1, 0.2].forEach((share, index) => { expect(shares[index]).toBeCloseTo(share, 1) })
})

test('a step of a small convolutional network, compiled and optimised, computes what the cpu backend does', async () => {
  const step = (weights: { a: tf.Tensor; b: tf.Tensor; c: tf.Tensor }, x: tf.Tensor) => {
    const loss = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => {
      const first = tf.maxPool(tf.fused.conv2d({
        x: x as tf.Tensor4D, filter: a as tf.Tensor4D, strides: 1, pad: 'same', activation: 'relu', bias: tf.tensor1d([0.1, 0, -0.1, 0]),
      }), 2, 2, 'same')
      const second = tf.relu(tf.batchNorm(tf.depthwiseConv2d(first, b as tf.Tensor4D, 1, 'same'), tf.zeros([8]), tf.ones([8]), tf.zeros([8]), tf.ones([8])))
      const pooled = tf.reshape(tf.avgPool(second as tf.Tensor4D, 2, 2, 'valid'), [2, -1])
      return tf.mean(tf.square(tf.fused.matMul({ a: pooled as tf.Tensor2D, b: c as tf.Tensor2D, activation: 'sigmoid' }))) as tf.Scalar
    }
    const { value, grads: [a, b, c] } = tf.valueAndGrads(loss as never)([weights.a, weights.b, weights.c])
    return { value, a, b, c } as Record<string, tf.Tensor>
  }
  const given = () => [{ a: draw([3, 3, 3, 4], 1), b: draw([3, 3, 4, 2], 2), c: draw([32, 5], 3) }, draw([2, 8, 8, 3], 4)] as const
  const jitted = jit(step, { name: 'test', threads: 1 })
  const made = await jitted(...given())
  const expected = await on('cpu', () => step(...given()))
  for (const [name, tensor] of Object.entries(made)) {
    [...await tensor.data()].forEach((value, index) => { expect(value, name).toBeCloseTo(expected[name]?.[index] ?? Number.NaN, 5) })
  }
  await jitted.release()
})

test('a graph of images takes any batch at run time', async () => {
  const free = 7919
  const x = input('x', 'float32', [free, 8, 8, 2])
  const layers = (symbol: tf.Tensor) => {
    const convolved = tf.fused.conv2d({ x: symbol as tf.Tensor4D, filter: draw([3, 3, 2, 3], 2) as tf.Tensor4D, strides: 1, pad: 'same', activation: 'relu' })
    const pooled = tf.maxPool(tf.depthwiseConv2d(convolved, draw([3, 3, 3, 1], 3) as tf.Tensor4D, 1, 'same'), 2, 2, 'same')
    const resized = tf.image.resizeBilinear(tf.image.transform(pooled, tf.tensor2d([[1, 0, 0.5, 0, 1, 0, 0, 0]]), 'bilinear'), [3, 5])
    return tf.stridedSlice(tf.mirrorPad(resized, [[0, 0], [1, 1], [0, 0], [0, 0]], 'reflect'), [0, 1, 0, 0], [free, 4, 5, 3], [1, 2, 1, 1])
  }
  const pooled = (symbol: tf.Tensor) =>
    tf.image.resizeBilinear(tf.maxPool(tf.conv2d(symbol as tf.Tensor4D, draw([3, 3, 2, 3], 2) as tf.Tensor4D, 2, 'same'), 2, 2, 'same'), [3, 5])
  const backwards = (symbol: tf.Tensor) => tf.grad(pooled)(symbol, pooled(symbol))
  const { outputs: values } = trace('test', () => {
    const symbol = tf.engine().makeTensorFromTensorInfo(backend.adopt(x))
    return [layers(symbol), backwards(symbol)]
  })
  const { model } = lower({
    inputs: [{ name: 'x', value: x }], outputs: rewritten(values, { contrib: false }).map((value, index) => ({ name: `y${String(index)}`, value })), free: { size: free, name: 'batch' },
  })
  const session = await InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 })
  for (const batch of [1, 3]) {
    const data = new Float32Array(batch * 128).map((_, index) => Math.sin(index))
    const run = await session.run({ x: new Tensor('float32', data, [batch, 8, 8, 2]) })
    expect(run.y0?.dims).toEqual([batch, 2, 5, 3])
    expect(run.y1?.dims).toEqual([batch, 8, 8, 2])
  }
  await session.release()
})
