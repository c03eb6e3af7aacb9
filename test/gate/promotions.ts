/** How often the promotion gate's test lets a challenger through: exactly, from binomials, and by simulated rounds of counts. */
import type { Random } from '../../trainer/data/random.js'
import { logGamma, mcnemar, type Paired } from '../../trainer/gate/statistics.js'

export interface Models {
  images: number
  /** Share of the images that exactly one of both has right, and what the challenger's accuracy is above the champion's. */
  discordance: number
  gain: number
}

/** Chance that McNemar's test is below `alpha`, summed over everything that can happen but for a chance of 1e-9. */
export function chanceOfPromotion({ images, discordance, gain }: Models, alpha: number): number {
  const winShare = (discordance + gain) / 2 / discordance
  let chance = 0
  for (let pairs = 0; pairs <= images; pairs++) {
    const pairsChance = binomial(pairs, images, discordance)
    if (pairsChance < 1e-12) continue
    for (let wins = pairs; wins >= 0 && mcnemar(wins, pairs - wins) < alpha; wins--) chance += pairsChance * binomial(wins, pairs, winShare)
  }
  return chance
}

/** P(X = k) for X ~ Binomial(n, p). */
function binomial(k: number, n: number, p: number): number {
  if (p >= 1) return k === n ? 1 : 0
  return Math.exp(logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1) + k * Math.log(p) + (n - k) * Math.log1p(-p))
}

/**
 * What each scene wins less what it loses, of scenes of `sceneImages` images each; in a scene, an image goes the way of all others
 * with chance `together`.
 */
export function drawScenes(
  { images, discordance, gain }: Models, { sceneImages, together }: { sceneImages: number; together: number }, random: Random,
): number[] {
  const [win, lose] = [(discordance + gain) / 2, (discordance - gain) / 2]
  const draw = () => {
    const place = random.float()
    return place < win ? 1 : place < win + lose ? -1 : 0
  }
  return Array.from({ length: Math.round(images / sceneImages) }, () => {
    const common = draw()
    let sum = 0
    for (let image = 0; image < sceneImages; image++) sum += random.float() < together ? common : draw()
    return sum
  })
}

/** What a challenger has right of images of new classes, at chance `recall`, and wins and loses of others; as `newClassesP` takes it. */
export function drawGrown(
  models: Models, { images, recall }: { images: number; recall: number }, share: number, random: Random,
): [fresh: { right: number; images: number }, share: number, others: Paired] {
  const right = Array.from({ length: images }, () => random.float() < recall).filter(Boolean).length
  const gains = drawScenes(models, { sceneImages: 1, together: 0 }, random)
  const wins = gains.filter(gain => gain > 0).length
  return [{ right, images }, share, { wins, losses: gains.filter(gain => gain < 0).length, images: models.images }]
}
