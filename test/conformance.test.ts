import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evenLanes, presets } from '../trainer/model/presets.js'

/** Specs of tfjs-core 4.22 that pass; more is progress, less is a loss. */
const passing = 2202

describe('the engine beside its peers', () => {
  it('passes tfjs\'s own specs of every kernel that it has', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'conformance.ts')], { maxBuffer: 1e8 })
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as { passed: number; failed: number }
    expect(report.failed).toBe(0)
    expect(report.passed).toBeGreaterThanOrEqual(passing)
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
