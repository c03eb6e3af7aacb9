import type { PairedEvidence } from '../../trainer/contract.js'

export interface PromotionRecord {
  round: number
  decidedAtMs: number
  promoted: boolean
  reason: PromotionReason
  /** One sentence for people. */
  explanation: string
  /** Version of the model that was in service; null: none. */
  champion: number | null
  /** Version of the challenger in the registry; null: the round ended without a model. */
  challenger: number | null
  accuracyChampion: number | null
  accuracyChallenger: number | null
}

export type PromotionReason = 'first-model' | 'better' | 'inconclusive' | 'regressed'

export type Evidence = PairedEvidence
