import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backendName, registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import * as tf from '../trainer/backend/tf.js'
import { evenLanes, presets } from '../trainer/model/presets.js'

/** Specs of tfjs-core 4.22 that pass; more is progress, less is a loss. */
const passing = 3165

/** What models are made of: each is registered, and at least one spec passes. */
const required = `
  Abs Add AddN All Any ArgMax ArgMin AvgPool BatchMatMul Cast Ceil ClipByValue Concat Conv2D Conv2DBackpropFilter Conv2DBackpropInput Cos Cumsum
  DepthwiseConv2dNative Elu Equal Erf Exp ExpandDims Expm1 Fill Floor FusedBatchNorm FusedConv2D GatherV2 Greater GreaterEqual Identity LeakyRelu
  Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr Max MaxPool MaxPoolGrad Maximum Mean Min Minimum Mod Multinomial Multiply
  Neg NotEqual OneHot OnesLike Pack PadV2 Pow Prelu Prod RealDiv Relu Relu6 Reshape ResizeBilinear Reverse Round Rsqrt Select Selu Sigmoid Sign Sin
  Slice Softmax Softplus SplitV Sqrt Square SquaredDifference Step StridedSlice Sub Sum Tanh Tile TopK Transform Transpose UnsortedSegmentSum
  ZerosLike _FusedMatMul`.trim().split(/\s+/)

/** tfjs makes these of other kernels or tests them in browsers alone, or they are ours: kernels.test.ts and engine.test.ts hold them. */
const testedHere = ['LayerNorm', 'LogSoftmax', 'RotateWithOffset']

interface Report {
  passed: number
  failed: number
  kernels: { registered: number; exercised: number; unexercised: string[] }
}

const conformance = (...options: string[]) =>
  promisify(execFile)(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'conformance.ts'), ...options], { maxBuffer: 1e8 })

describe('the engine beside its peers', () => {
  it('passes tfjs\'s own specs of every kernel that it has', async () => {
    const { stdout } = await conformance('--json')
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report
    expect(report.failed).toBe(0)
    expect(report.passed).toBeGreaterThanOrEqual(passing)
    expect(report.kernels.unexercised).toEqual(testedHere)
  })

  it('has the kernels that models are made of', () => {
    registerOnnxRuntimeBackend()
    const registered = new Set(tf.getKernelsForBackend(backendName).map(({ kernelName }) => kernelName))
    expect(required.filter(name => !registered.has(name))).toEqual([])
  })

  it('reports a spec at every kernel that it asks for', async () => {
    const { stdout } = await conformance('reverse_1d,unique')
    expect(stdout).toMatch(/^Reverse +\d+ +0$/m)
    expect(stdout).toMatch(/^Unique \(not registered\) +0 +0 +\d+ needs Unique$/m)
  })

  it('names the packages of a backend that does not load, or runs on it', async () => {
    const outcome = await conformance('reverse_1d', '--backend', 'tensorflow', '--json').catch((error: unknown) => error as { code: number; stderr: string })
    if ('code' in outcome) expect(outcome).toMatchObject({ code: 2, stderr: expect.stringMatching(/tfjs-node-gpu: .*\n.*tfjs-node: /) as string })
  })

  it('divides a step evenly among its lanes, however many cores there are', () => {
    fc.assert(fc.property(fc.constantFrom(...Object.values(presets)), fc.integer({ min: 1, max: 512 }), (preset, cores) => {
      const lanes = evenLanes(preset, cores)
      expect([preset.labeled % lanes, preset.unlabeled % lanes]).toEqual([0, 0])
      expect(lanes).toBeGreaterThanOrEqual(1)
      expect(lanes).toBeLessThanOrEqual(cores)
    }))
  })
})
