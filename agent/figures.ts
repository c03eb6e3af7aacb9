/** What a model of the registry is worth, as everything that shows it says: on the promotion images of its round, which it learned nothing from. */
import type { ModelVersion } from './events.js'

/** Share of the images that it has right; other rounds may have had other images. Of a round without any: of the gate images. */
export function accuracyOf({ card, decision }: Pick<ModelVersion, 'card' | 'decision'>): number {
  return decision.accuracyChallenger ?? card.validation.accuracy
}

/** Expected calibration error, 0 to 1. In records of earlier versions: on the gate images, which its temperature was fitted to. */
export function calibrationErrorOf({ card, decision }: Pick<ModelVersion, 'card' | 'decision'>): number {
  return decision.comparison?.eceChallenger ?? card.validation.ece
}
