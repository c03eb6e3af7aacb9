/** A challenger with real files and a card that is true to them, for tests of what becomes of it. */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Challenger } from '../agent/registry/registry.js'
import type { PromotionRecord } from '../agent/rounds/promotion.js'

export function record(round: number, challenger: number | null = null): PromotionRecord {
  return {
    round, decidedAtMs: 1, promoted: true, reason: 'better', explanation: 'test', champion: null, challenger,
    accuracyChampion: null, accuracyChallenger: 0.5, comparison: null,
  }
}

/** `text`: what makes its files differ from another's. */
export async function challenger(data: string, text: string): Promise<Challenger> {
  const folder = join(data, `round-${text}`)
  await mkdir(folder, { recursive: true })
  for (const name of ['model.onnx', 'weights.safetensors']) await writeFile(join(folder, name), `${name} ${text}`)
  const sha256 = (name: string) => createHash('sha256').update(`${name} ${text}`).digest('hex')
  return {
    folder,
    decision: version => record(1, version),
    card: {
      format: 'pawl-model-card/1', createdAt: '2026-01-01T00:00:00Z', method: 'pawl', preset: 'nano', recipe: { lr: 1 }, seed: 1,
      classes: ['a', 'b'], parameters: 1, steps: 1, seconds: 1, imagesPerSecond: 1, backend: 'onnxruntime', device: 'cpu',
      data: { labeled: 1, unlabeled: 1, gate: 1, promotion: 1, quarantined: 0, sha256: '' },
      validation: { images: 1, correct: 1, accuracy: 1, interval: [0, 1], nll: 0, ece: 0 }, temperature: 1,
      pseudoLabels: { used: 0, gateOpenings: 0, lastThreshold: null, precisionLowerBound: 0 }, gate: [], parent: null,
      files: { 'model.onnx': sha256('model.onnx'), 'weights.safetensors': sha256('weights.safetensors') },
    },
  }
}
