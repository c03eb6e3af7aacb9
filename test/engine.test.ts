import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import * as tf from '../trainer/backend/tf.js'
import { backendName, registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import { jit } from '../trainer/backend/jit.js'
import { Random } from '../trainer/data/random.js'
import { attention, block, crossEntropy, gelu, layerNorm, squaredRelu } from '../trainer/model/layers.js'
import { initialise, parameterTable, type ParameterTable } from '../trainer/model/parameters.js'
import { keptOf, patchPixelsOf, tokensOf } from '../trainer/model/presets.js'
import { Ssmae } from '../trainer/model/ssmae.js'
import { averageInPlace, betas, update, updateInPlace } from '../trainer/optim/adamw.js'
import { recipes } from '../trainer/recipe.js'
import { stepFunction, unpacked, type Batch, type Control } from '../trainer/step.js'
import { draw, expectSame, on, type Tensors } from './both-backends.js'
import { small } from './training.js'

registerOnnxRuntimeBackend()

beforeEach(async () => { await tf.setBackend(backendName) })

describe('kernels agree with the cpu backend of tfjs', () => {
  const x = () => draw([3, 4, 5], 1, 2)
  const positive = () => tf.add(tf.abs(x()), 0.1)
  const unary: Record<string, (t: tf.Tensor) => tf.Tensor> = {
    abs: tf.abs, ceil: tf.ceil, cos: tf.cos, elu: tf.elu, erf: tf.erf, exp: tf.exp, floor: tf.floor, neg: tf.neg, relu: tf.relu,
    round: tf.round, sigmoid: tf.sigmoid, sign: tf.sign, sin: tf.sin, softplus: tf.softplus, tanh: tf.tanh, square: tf.square,
    step: t => tf.step(t, 0.5), reciprocal: t => tf.reciprocal(t), softmax: t => tf.softmax(t), logSoftmax: t => tf.logSoftmax(t),
    clip: t => tf.clipByValue(t, -0.5, 0.7), argMax: t => tf.argMax(t, -1), argMin: t => tf.argMin(t, 1), zerosLike: tf.zerosLike,
    onesLike: tf.onesLike, sum: t => tf.sum(t, [0, 2]), mean: t => tf.mean(t, 1, true), max: t => tf.max(t, -1), min: t => tf.min(t),
    prod: t => tf.prod(t, 0), transpose: t => tf.transpose(t, [2, 0, 1]), slice: t => tf.slice(t, [1, 0, 2], [2, 4, 1]),
    pad: t => tf.pad(t, [[1, 0], [0, 2], [1, 1]], 3), tile: t => tf.tile(t, [2, 1, 3]), expandDims: t => tf.expandDims(t, 1),
    reshape: t => tf.reshape(t, [5, -1]), cast: t => tf.cast(tf.cast(t, 'int32'), 'float32'),
    gather: t => tf.gather(t, tf.tensor2d([[0, 2], [1, 1]], [2, 2], 'int32'), 1),
    stack: t => tf.stack([t, tf.neg(t)], 1), unstack: t => tf.addN(tf.unstack(t, 1)), split: t => tf.concat(tf.split(t, [1, 3], 1).toReversed(), 1),
    oneHot: t => tf.oneHot(tf.cast(tf.argMax(t, 2), 'int32'), 5), fill: () => tf.fill([2, 3], 7),
  }
  test.each(Object.entries(unary))('%s', async (_, op) => { await expectSame(() => ({ result: op(x()) })) })
  test.each(Object.entries({ log: tf.log, sqrt: tf.sqrt, rsqrt: tf.rsqrt }))('%s of positive numbers', async (_, op) => {
    await expectSame(() => ({ result: op(positive()) }))
  })

  const binary: Record<string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor> = {
    add: tf.add, sub: tf.sub, mul: tf.mul, div: tf.div, maximum: tf.maximum, minimum: tf.minimum, squaredDifference: tf.squaredDifference,
    equal: tf.equal, notEqual: tf.notEqual, greater: tf.greater, greaterEqual: tf.greaterEqual, less: tf.less, lessEqual: tf.lessEqual,
    where: (a, b) => tf.where(tf.greater(a, b), a, b), pow: (a, b) => tf.pow(tf.abs(a), b),
    and: (a, b) => tf.logicalAnd(tf.greater(a, 0), tf.logicalNot(tf.less(b, 0))), or: (a, b) => tf.logicalOr(tf.greater(a, 1), tf.less(b, 0)),
  }
  test.each(Object.entries(binary))('%s, whatever the shapes that broadcast', async (_, op) => {
    await fc.assert(fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom('both', 'a', 'b')), { minLength: 1, maxLength: 4 }),
      async axes => {
        const [a, b] = ['a', 'b'].map(side => axes.map(([size, kept]) => (kept === 'both' || kept === side ? size : 1)))
        await expectSame(() => ({ result: op(draw(a ?? [], 3), draw(b ?? [], 4)) }))
      }), { numRuns: 8 })
  })

  test.each([[false, false], [true, false], [false, true], [true, true]])('matMul with transposes %s, %s, single and batched', async (ta, tb) => {
    const side = (batch: number[], rows: number, columns: number, turned: boolean, seed: number) =>
      draw([...batch, ...(turned ? [columns, rows] : [rows, columns])], seed)
    await expectSame(() => ({
      single: tf.matMul(side([], 3, 4, ta, 1), side([], 4, 5, tb, 2), ta, tb),
      batched: tf.matMul(side([2, 3], 3, 4, ta, 1), side([2, 3], 4, 5, tb, 2), ta, tb),
    }))
  })
})

describe('errors name the operation and the shapes', () => {
  test('a kernel that is not registered', async () => {
    await expect((async () => tf.unique(draw([4], 1)).values.data())())
      .rejects.toThrow(/Unique.*onnxruntime/)
  })
  test('reading inside of jit', async () => {
    const reads = jit<[tf.Tensor], tf.Tensor>(x => tf.mul(x, x.dataSync()[0] ?? 0), { name: 'reads', threads: 1 })
    await expect(reads(draw([2], 1))).rejects.toThrow(/read while "reads" is traced, at .*engine\.test\.ts.*outside of jit/)
  })
})

describe('gradients', () => {
  const layers: Record<string, { fn: (x: tf.Tensor2D) => tf.Tensor; shape: [number, number] }> = {
    layerNorm: { fn: layerNorm, shape: [3, 8] },
    squaredRelu: { fn: squaredRelu, shape: [3, 8] },
    gelu: { fn: gelu, shape: [3, 8] },
    crossEntropy: { fn: x => tf.expandDims(crossEntropy(x, tf.softmax(draw([3, 8], 9)) as tf.Tensor2D), 1), shape: [3, 8] },
    attention: { fn: x => attention(blockWeights(), 'b.attention', x, 3, 2), shape: [6, 8] },
    block: { fn: x => block(blockWeights(), 'b', x, { tokens: 3, heads: 2, activation: 'squared-relu' }), shape: [6, 8] },
  }
  function blockWeights(): Tensors {
    const parts = ['query', 'key', 'value', 'projection'].map((name, index) => [`b.attention.${name}.weight`, draw([8, 8], 20 + index)])
    return {
      ...Object.fromEntries(parts) as Tensors,
      'b.mlp.expand.weight': draw([8, 32], 40, 0.5),
      'b.mlp.contract.weight': draw([32, 8], 42, 0.5),
    }
  }

  test.each(Object.entries(layers))('%s: both backends, and finite differences', async (_, { fn, shape }) => {
    const x = () => draw(shape, 7)
    const loss = (input: tf.Tensor) => tf.sum(tf.mul(fn(input as tf.Tensor2D), draw(shape, 8))) as tf.Scalar
    await expectSame(() => ({ value: loss(x()), gradient: tf.grad(loss)(x()) }))

    const gradient = (await on(backendName, () => ({ gradient: tf.grad(loss)(x()) }))).gradient ?? []
    const values = [...await x().data()]
    const at = async (index: number, by: number) => {
      const moved = values.map((value, place) => (place === index ? value + by : value))
      return (await on(backendName, () => ({ value: loss(tf.tensor(moved, shape)) }))).value?.[0] ?? Number.NaN
    }
    for (const index of [0, 5, 11]) {
      const difference = (await at(index, 1e-2) - await at(index, -1e-2)) / 2e-2
      expect(gradient[index]).toBeCloseTo(difference, 1)
    }
  })

  test('the whole SSMAE step, every branch on: losses and all gradients agree with the cpu backend', async () => {
    const recipe = { ...recipes.pawl, normalisedTarget: true }
    const table = parameterTable(small, 3, recipe)
    const flat = weightsOf(table)
    const step = stepFunction(new Ssmae(small, recipe), table, recipe, { reconstruct: true, labeled: true, unlabeled: true })
    await expectSame(() => {
      const weights = tf.tensor1d(flat)
      const { gradient, losses, assigned, classMix } = step(weights, weights, smallBatch(recipe.maskRatio), smallControl())
      return { ...unpacked(table, gradient), losses, assigned, classMix }
    }, 2e-3)
  })

  test('where views have to agree, a pseudo-label counts only where the teacher says the same of the strong view, and is as sure of it', async () => {
    const table = parameterTable(small, 3, recipes.pawl)
    // Of its classes a model with weights so small would name one alone.
    const flat = weightsOf(table).map(value => 5 * value)
    const frames = (seed: number) => draw([16, tokensOf(small), patchPixelsOf(small)], seed) as tf.Tensor3D
    const assigned = async (agreement: boolean, change: (batch: Batch) => Batch) => {
      const recipe = { ...recipes.pawl, agreement }
      const step = stepFunction(new Ssmae(small, recipe), table, recipe, { reconstruct: false, labeled: false, unlabeled: true })
      const given = { ...smallControl(), classWeights: tf.tensor1d([1, 1, 1]), threshold: tf.tensor1d([0.95]) }
      const { said } = await on(backendName, () => ({
        said: step(tf.tensor1d(flat), tf.tensor1d(flat), change(smallBatch(recipe.maskRatio)), given).assigned,
      }))
      return [...said ?? []]
    }
    const shown = (weakSeed: number, strongSeed: number) => (batch: Batch) =>
      ({ ...batch, weak: frames(weakSeed), strong: frames(strongSeed), beliefs: tf.zeros([16, 0]) as tf.Tensor2D })
    const [weak, strong] = [await assigned(false, shown(4, 5)), await assigned(false, shown(5, 4))]
    const agreed = weak.map((label, frame) => (label === strong[frame] ? label : -1))
    const named = weak.flatMap((label, frame) => (label < 0 ? [] : strong[frame] === -1 ? 'unsure' : strong[frame] === label ? 'same' : 'other'))
    expect(new Set(named)).toEqual(new Set(['unsure', 'same', 'other']))
    expect([await assigned(true, shown(4, 5)), await assigned(true, shown(4, 4))]).toEqual([agreed, weak])
  })

  test('a hidden patch is reconstructed from what is visible where, in whatever order it is given', async () => {
    const { maskRatio } = recipes.pawl
    const table = parameterTable(small, 3, recipes.pawl)
    const flat = weightsOf(table)
    const model = new Ssmae(small, recipes.pawl)
    const { masked: { visible, keepIds, dropIds } } = smallBatch(maskRatio)
    const guesses = async (keep: number[], drop: number[]) => {
      const inOrder = <T extends tf.Tensor>(tensor: T, order: number[]) => tf.gather(tensor, tf.tensor1d(order, 'int32'), 1)
      const { guess } = await on(backendName, () => ({
        guess: model.reconstruct(unpacked(table, tf.tensor1d(flat)), {
          visible: inOrder(visible, keep), keepIds: inOrder(keepIds, keep), dropIds: inOrder(dropIds, drop),
        }),
      }))
      return [...guess ?? []]
    }
    const [kept, dropped] = [[...Array(keepIds.shape[1]).keys()], [...Array(dropIds.shape[1]).keys()]]
    const pixels = patchPixelsOf(small)
    const before = await guesses(kept, dropped)
    await fc.assert(fc.asyncProperty(
      fc.shuffledSubarray(kept, { minLength: kept.length }), fc.shuffledSubarray(dropped, { minLength: dropped.length }),
      async (keep, drop) => {
        const after = await guesses(keep, drop)
        const expected = after.map((_, index) => {
          const [image, place] = [Math.floor(index / (pixels * drop.length)), Math.floor(index / pixels) % drop.length]
          return before[(image * drop.length + (drop[place] ?? 0)) * pixels + index % pixels] ?? Number.NaN
        })
        after.forEach((value, index) => { expect(value).toBeCloseTo(expected[index] ?? Number.NaN, 4) })
      }), { numRuns: 8 })
    // Where a patch is, counts: the same patches at each other's places are another picture.
    const moved = (await on(backendName, () => ({
      guess: model.reconstruct(unpacked(table, tf.tensor1d(flat)), { visible: tf.reverse(visible, 1), keepIds, dropIds }),
    }))).guess ?? []
    expect(Math.max(...before.map((value, index) => Math.abs(value - (moved[index] ?? 0))))).toBeGreaterThan(1e-3)
  })
})

/** Beside the zeros of the first weights, so that every one matters. */
function weightsOf(table: ParameterTable): Float32Array {
  const flat = new Float32Array(table.size)
  initialise(table, flat, Random.of(1))
  const random = Random.of(2)
  return flat.map(value => value + random.around(0.05))
}

function smallBatch(maskRatio: number): Batch {
  const [tokens, pixels, kept] = [tokensOf(small), patchPixelsOf(small), keptOf(small, maskRatio)]
  const images = small.labeled + small.unlabeled
  const order = Array.from({ length: images }, (_, index) => [...Random.of(index).permutation(tokens)])
  const ids = (from: number, to: number) => tf.tensor2d(order.map(row => row.slice(from, to)), [images, to - from], 'int32')
  return {
    masked: {
      visible: draw([images, kept, pixels], 1) as tf.Tensor3D, keepIds: ids(0, kept),
      hidden: draw([images, tokens - kept, pixels], 2) as tf.Tensor3D, dropIds: ids(kept, tokens),
    },
    labeled: draw([small.labeled, tokens, pixels], 3) as tf.Tensor3D,
    targets: tf.tensor2d([[1, 0, 0], [0, 0.3, 0.7]]),
    weak: draw([small.unlabeled, tokens, pixels], 4) as tf.Tensor3D,
    strong: draw([small.unlabeled, tokens, pixels], 5) as tf.Tensor3D,
    beliefs: tf.logSoftmax(draw([small.unlabeled, 3], 6)) as tf.Tensor2D,
  }
}

function smallControl(): Control {
  return {
    threshold: tf.tensor1d([0.2]), classWeights: tf.tensor1d([1, 1, 0]), alignment: tf.tensor1d([1, 0.8, 1.3]), unlabeledWeight: tf.tensor1d([0.7]),
  }
}

/** The second so small that epsilon decides how far the weights move. */
test.each([{ count: 1, size: 1 }, { count: 3, size: 1e-8 }])('AdamW, update $count, gradients of $size: both backends, in place, and the textbook formula', async ({ count, size }) => {
  const sizes = { student: 1, teacher: 1, momentum: size, variance: size ** 2, first: size, second: size }
  const vector = (part: keyof typeof sizes) => tf.mul<tf.Tensor1D>(draw([6], Object.keys(sizes).indexOf(part) + 1), sizes[part])
  const variance = () => tf.abs(vector('variance'))
  const one = (value: number) => tf.tensor1d([value])
  const run = () => update(
    { student: vector('student'), teacher: vector('teacher'), momentum: vector('momentum'), variance: variance() },
    {
      gradients: [vector('first'), vector('second')], rateScale: tf.fill([6], 0.5) as tf.Tensor1D, decays: tf.tensor1d([1, 1, 1, 0, 0, 0]),
      learningRate: one(0.1), weightDecay: one(0.2), momentumCorrection: one(1 / (1 - betas.momentum ** count)),
      varianceCorrection: one(1 / (1 - betas.variance ** count)), teacherDecay: one(0.9),
    })
  await expectSame(run)
  const got = await on(backendName, run)

  const plain = async (part: keyof typeof sizes) => Float32Array.from(await vector(part).data())
  const before = { student: await plain('student'), teacher: await plain('teacher'), momentum: await plain('momentum'), variance: Float32Array.from(await variance().data()) }
  const gradients = [await plain('first'), await plain('second')] as const
  before.student.forEach((weight, index) => {
    const gradient = (gradients[0][index]! + gradients[1][index]!) / 2
    const m = 0.9 * before.momentum[index]! + 0.1 * gradient
    const v = 0.95 * before.variance[index]! + 0.05 * gradient ** 2
    const direction = (m / (1 - 0.9 ** count)) / (Math.sqrt(v / (1 - 0.95 ** count)) + 1e-8)
    const next = weight - 0.1 * 0.5 * (direction + 0.2 * (index < 3 ? weight : 0))
    expect(got.student?.[index]).toBeCloseTo(next, 4)
    expect(got.teacher?.[index]).toBeCloseTo(0.9 * before.teacher[index]! + 0.1 * next, 4)
  })

  const moved = structuredClone(before)
  for (const [start, end] of [[0, 3], [3, 6]] as const) {
    const range = { start, end, rate: 0.5, decays: start === 0, share: 1 / gradients.length }
    updateInPlace(moved, gradients, range, { count, learningRate: 0.1, weightDecay: 0.2 })
    averageInPlace(moved.teacher, moved.student, range, 0.9)
  }
  for (const part of ['student', 'teacher', 'momentum', 'variance'] as const) {
    const unit = sizes[part]
    moved[part].forEach((value, index) => { expect(value / unit, part).toBeCloseTo((got[part]?.[index] ?? NaN) / unit, 4) })
  }
})

describe('jit', () => {
  test('replays without compiling again, leaves no tensors behind, and computes what eager computes', async () => {
    const slope = (w: tf.Tensor, x: tf.Tensor) => tf.grad(other => tf.sum(tf.square(tf.mul(other, x))))(w)
    const fn = (state: { w: tf.Tensor }, x: tf.Tensor) => ({ w: tf.sub(state.w, tf.mul(slope(state.w, x), 0.1)) })
    const step = jit(fn, { name: 'step', threads: 1 })
    let state: { w: tf.Tensor } = { w: draw([4], 1) }
    const x = draw([4], 2)
    const eager = await on('cpu', () => fn(fn({ w: draw([4], 1) }, draw([4], 2)), draw([4], 2)))
    await tf.setBackend(backendName)
    const counts: number[] = []
    for (let round = 0; round < 5; round++) {
      const next = await step(state, x)
      if (round === 1) [...await next.w.data()].forEach((value, index) => { expect(value).toBeCloseTo(eager.w?.[index] ?? Number.NaN, 5) })
      tf.dispose(state)
      state = next
      counts.push(tf.memory().numTensors)
    }
    expect(new Set(counts).size).toBe(1)
    expect(step.compilations).toHaveLength(1)
  })

  test('compiles once more for another shape, and says which argument changed', async () => {
    const double = jit<[{ x: tf.Tensor; y: tf.Tensor }], tf.Tensor>(({ x, y }) => tf.add(x, y), { name: 'double', threads: 1 })
    const both = (values: number[]) => ({ x: tf.tensor1d(values), y: tf.tensor1d([1]) })
    expect([...await (await double(both([1, 2]))).data()]).toEqual([2, 3])
    expect([...await (await double(both([1, 2, 3]))).data()]).toEqual([2, 3, 4])
    expect([...await (await double(both([5, 6]))).data()]).toEqual([6, 7])
    expect(double.compilations.map(({ changed }) => changed)).toEqual([[], ['0.x: float32[3], before float32[2]']])
  })

  test('names the place where a step draws from Math.random, and leaves Math.random as it was', async () => {
    const { random } = Math
    const draws = jit<[tf.Tensor], tf.Tensor>(x => tf.mul(x, Math.random()), { name: 'draws', threads: 1 })
    await expect(draws(draw([2], 1))).rejects.toThrow(/Math\.random is called while "draws" is traced, at .*engine\.test\.ts/)
    await expect(draws(draw([2], 1))).rejects.toThrow(/outside of jit/)
    expect(Math.random).toBe(random)
  })

  test('names a kernel that is missing, and the place that asked for it', async () => {
    const missing = jit<[tf.Tensor1D], tf.Tensor>(x => tf.unique(x).values, { name: 'missing', threads: 1 })
    await expect(missing(draw([4], 1) as tf.Tensor1D)).rejects
      .toThrow(/Kernel 'Unique' not registered.*while "missing" is traced, at .*engine\.test\.ts/)
  })

  test('finds the operation that gives the first number that is none, with its shapes and its line', async () => {
    const fn = (x: tf.Tensor, y: tf.Tensor) => {
      const root = tf.sqrt(tf.sub(x, y))
      return tf.sum(tf.mul(root, 2))
    }
    const step = jit(fn, { name: 'roots', threads: 1 })
    expect(await (await step(tf.tensor1d([4, 9]), tf.tensor1d([0]))).data()).toEqual(Float32Array.of(10))
    const why = await step.diagnose(tf.tensor1d([4, 9]), tf.tensor1d([5]))
    expect(why).toMatch(/first operation of "roots" to give numbers that are not finite is Sqrt of float32\[2\], at .*engine\.test\.ts/)
    expect(await step.diagnose(tf.tensor1d([NaN, 9]), tf.tensor1d([5]))).toContain('the argument 0 of "roots" holds numbers that are not finite')
  })

  test('writes results over those before, where it was told to', async () => {
    const double = jit<[tf.Tensor], tf.Tensor>(x => tf.mul(x, 2), { name: 'double', threads: 1, reuse: true })
    const first = await double(tf.tensor1d([1, 2]))
    expect([...await first.data()]).toEqual([2, 4])
    const second = await double(tf.tensor1d([3, 4]))
    expect([...await second.data()]).toEqual([6, 8])
    expect([...await first.data()]).toEqual([6, 8])
  })

  test('writes each graph as ONNX and as text where PAWL_GRAPHS says', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-graphs-'))
    process.env.PAWL_GRAPHS = folder
    try {
      const half = (a: tf.Tensor2D, b: tf.Tensor2D) => tf.mul(tf.matMul(a, b, true), 0.5)
      const product = jit(half, { name: 'product', threads: 1 })
      tf.dispose(await product(draw([3, 2], 1) as tf.Tensor2D, draw([3, 4], 2) as tf.Tensor2D))
      const names = await readdir(folder)
      expect(names.map(name => name.replace(/-\d+-\d+/, '')).sort()).toEqual(['product.onnx', 'product.txt'])
      const text = await readFile(join(folder, names.find(name => name.endsWith('.txt')) ?? ''), 'utf8')
      expect(text).toBe([
        'input0: float32[3, 2]', 'input1: float32[3, 4]', '%2 = Gemm(input0, input1, transA=1, alpha=0.5) float32[2, 4]', 'output0 = %2', '',
      ].join('\n'))
    } finally {
      delete process.env.PAWL_GRAPHS
      await rm(folder, { recursive: true })
    }
  })
})

test('the trainer depends on tfjs-core alone: no other tfjs package is needed to run', () => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: Record<string, string> }
  expect(Object.keys(dependencies).filter(name => name.startsWith('@tensorflow/'))).toEqual(['@tensorflow/tfjs-core'])
})
