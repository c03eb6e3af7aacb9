/** What the first reports tell, as sections of a page. */
import type { ConsistencyResult } from './views.js'
import type { ReconstructionResult } from './reconstruction.js'
import { markdown, percent } from './tables.js'

export type FirstResult = ReconstructionResult | ConsistencyResult

/** A section a result, in the order of the file. */
export function renderedFirst(results: readonly FirstResult[]): string[] {
  return results.flatMap(result => ['', ...(result.section === 'reconstruction' ? reconstructionSection(result) : consistencySection(result))]).slice(1)
}

function reconstructionSection({ seed, learned, heldOut, imagesPerStep, maskRatio, seconds, fills, looks }: ReconstructionResult): string[] {
  const row = (guess: string, error: number) => ({
    'guess at the hidden patches': guess, 'mean squared error': error.toFixed(4), 'against the mean patch': `${percent(error / fills['mean patch'])} %`,
  })
  return [
    `Reconstruction: ${whole(learned)} photographs without labels, ${String(imagesPerStep)} a step, ${percent(maskRatio)} % of the patches hidden, seed ${String(seed)}, `
    + `${(seconds / 60).toFixed(1)} minutes; ${whole(heldOut)} others measured, pixels between 0 and 1.`,
    '',
    ...markdown([
      ...Object.entries(fills).map(([name, error]) => row(name, error)),
      ...looks.map(({ step, error }) => row(`the decoder after ${whole(step)} steps`, error)),
    ]),
  ]
}

function consistencySection({ method, labels, steps, seed, own, heldOut, views, bins, rules }: ConsistencyResult): string[] {
  const pairs = heldOut * views
  return [
    `Consistency: \`${method}\`, ${whole(labels)} labels, ${whole(steps)} steps, seed ${String(seed)}; ${whole(heldOut)} photographs that ${own ? 'it never saw' : 'it may have seen'}, `
    + `${String(views)} pairs of a weak and a strong view each.`,
    '',
    ...markdown(bins.map(({ from, agreeing, rightAgreeing, rightDisagreeing, ...bin }, index) => ({
      'confidence on the weak view': index + 1 < bins.length ? `${digits(from)} to ${digits(bins[index + 1]?.from ?? 1)}` : `from ${digits(from)}`,
      'share of the pairs': share(bin.pairs, pairs),
      'views agree': share(agreeing, bin.pairs),
      'right where they agree': share(rightAgreeing, agreeing),
      'right where they disagree': share(rightDisagreeing, bin.pairs - agreeing),
    })).filter((_, index) => bins[index]?.pairs)),
    '',
    ...markdown(rules.map(({ rule, accepted, right }) => ({ 'label from the weak view where': rule, coverage: share(accepted, pairs), precision: share(right, accepted) }))),
  ]
}

function share(part: number, all: number): string {
  return all === 0 ? '-' : `${percent(part / all)} %`
}

/** `.95`. */
function digits(confidence: number): string {
  return confidence === 0 ? '0' : String(confidence).replace('0.', '.')
}

/** `58,000`. */
function whole(count: number): string {
  return count.toLocaleString('en')
}
