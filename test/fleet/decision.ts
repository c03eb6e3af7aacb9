/** A decision of a round and the model that came of it, as a box tells of them. */
import type { ModelVersion } from '../../agent/events.js'
import type { PromotionRecord } from '../../agent/rounds/promotion.js'

export const classes = ['ankle-boot', 'bag', 'coat', 'dress', 'pullover', 'sandal', 'shirt', 'sneaker', 't-shirt', 'trouser']
const sha = '0123456789abcdef'.repeat(4)
const images = 280

type Decided = Pick<PromotionRecord, 'round' | 'promoted' | 'reason' | 'champion' | 'accuracyChampion' | 'accuracyChallenger' | 'decidedAtMs'>

export function decisionOf(decided: Decided): PromotionRecord {
  const { promoted, accuracyChallenger, accuracyChampion: former, champion, round } = decided
  const challenger = accuracyChallenger ?? 0
  return {
    ...decided,
    challenger: round,
    explanation: promoted ? `the challenger has ${(100 * challenger).toFixed(1)} % of the promotion images right` : 'nothing is proved: the champion stays',
    comparison: {
      images, scenes: images, wins: promoted ? 14 : 6, losses: promoted ? 2 : 9, p: promoted ? 0.002 : 0.4, alpha: 0.0125, attempt: 2,
      intervalChallenger: around(challenger), intervalChampion: former === null ? null : around(former),
      gainLowerBound: promoted ? 0.01 : -0.03, nllChallenger: 0.6, nllChampion: former === null ? null : 0.62,
      eceChallenger: 0.03, eceChampion: former === null ? null : 0.03,
      perClass: classes.map(name => ({
        class: name, images: 28, challenger: Math.round(28 * challenger), champion: champion === null ? null : Math.round(28 * (former ?? 0)),
        regressionP: champion === null ? null : 0.5,
      })),
    },
  }
}

export function modelOf({ version, accuracy, decision }: { version: number; accuracy: number; decision: PromotionRecord }): ModelVersion {
  return {
    version, folder: `${String(version)}-${sha.slice(0, 12)}`, status: 'champion', createdAtMs: decision.decidedAtMs, decision,
    card: {
      format: 'pawl-model-card/1', createdAt: new Date(decision.decidedAtMs).toISOString(), method: 'pawl', preset: 'nano', recipe: {}, seed: version, classes,
      parameters: 1_700_000, steps: 600, seconds: 600, imagesPerSecond: 180, backend: 'onnxruntime', device: 'cpu',
      data: { labeled: 120, unlabeled: 3000, gate: images, promotion: images, quarantined: 0, sha256: sha },
      validation: { images, correct: Math.round(images * accuracy), accuracy, interval: around(accuracy), nll: 0.6, ece: 0.03 },
      temperature: 1, pseudoLabels: { used: 900, gateOpenings: 3, lastThreshold: 0.9, precisionLowerBound: 0.95 }, gate: [], parent: null,
      files: { 'model.onnx': sha, 'weights.safetensors': sha },
    },
  }
}

function around(accuracy: number): [number, number] {
  return [Math.max(0, accuracy - 0.04), Math.min(1, accuracy + 0.04)]
}
