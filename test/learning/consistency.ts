/** Whether a model says the same of an image's weak and strong views, and how often rules that trust its word are right. Pure. */
import { argMax } from '../../trainer/evidence.js'

/** What a model says of the views of an image. */
export interface ViewedImage {
  /** Index of its class. */
  truth: number
  /** Class probabilities [C] on a weak and on a strong view. */
  pairs: { weak: readonly number[]; strong: readonly number[] }[]
}

export interface Bin {
  /** Least confidence on the weak view; the next bin's is above. */
  from: number
  pairs: number
  /** Pairs whose views get the same class. */
  agreeing: number
  /** Pairs whose weak view gets the right class. */
  rightAgreeing: number
  rightDisagreeing: number
}

export interface RuleCount {
  rule: RuleName
  /** Pairs of which the rule would take the weak view's class as a label, and how many of those labels are right. */
  accepted: number
  right: number
}

interface Judged {
  /** Confidence on each view. */
  weak: number
  strong: number
  agree: boolean
  right: boolean
  /** All views of the image, those of its other pairs too, get one class. */
  unanimous: boolean
}

/** Confidence that a view must exceed (arXiv 2601.20072, section 3.3). */
const sure = 0.95
const binsFrom = [0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99] as const

/** What would make a label of the weak view's class. */
const rules = {
  'every view': () => true,
  'the views agree': ({ agree }) => agree,
  'they disagree': ({ agree }) => !agree,
  'all views of the image agree': ({ unanimous }) => unanimous,
  'weak view above .95': ({ weak }) => weak > sure,
  'weak view above .95, they disagree': ({ weak, agree }) => weak > sure && !agree,
  'the paper: both above .95 and agreeing': ({ weak, strong, agree }) => weak > sure && strong > sure && agree,
} satisfies Record<string, (pair: Judged) => boolean>

type RuleName = keyof typeof rules

export function counted(images: readonly ViewedImage[]): { bins: Bin[]; rules: RuleCount[] } {
  const pairs = images.flatMap(judged)
  const bins = binsFrom.map((from, index): Bin => {
    const own = pairs.filter(({ weak }) => weak >= from && weak < (binsFrom[index + 1] ?? Infinity))
    const [agreeing, disagreeing] = [own.filter(({ agree }) => agree), own.filter(({ agree }) => !agree)]
    return { from, pairs: own.length, agreeing: agreeing.length, rightAgreeing: rightOf(agreeing), rightDisagreeing: rightOf(disagreeing) }
  })
  const counts = Object.entries(rules).map(([rule, accepts]): RuleCount => {
    const accepted = pairs.filter(accepts)
    return { rule: rule as RuleName, accepted: accepted.length, right: rightOf(accepted) }
  })
  return { bins, rules: counts }
}

function judged({ truth, pairs }: ViewedImage): Judged[] {
  const classes = pairs.map(({ weak, strong }) => [argMax(weak), argMax(strong)] as const)
  const unanimous = new Set(classes.flat()).size === 1
  return pairs.map(({ weak, strong }, index) => {
    const [weakly, strongly] = classes[index] ?? [-1, -1]
    return { weak: weak[weakly] ?? 0, strong: strong[strongly] ?? 0, agree: weakly === strongly, right: weakly === truth, unanimous }
  })
}

function rightOf(pairs: readonly Judged[]): number {
  return pairs.filter(({ right }) => right).length
}
