/** One ingredient at a time left out of the recipe; also without the shortcut and the neighbours, whose part hides what the others are worth. */
import { plain, type Recipe } from '../../trainer/recipe.js'

const single = {
  nothing: {},
  stem: { stem: false },
  shortcut: { shortcut: false, neighbours: false },
  neighbours: { neighbours: false },
  reconstruction: { reconstruction: false },
  'three quarters hidden': { maskRatio: 0.5 },
  'raw pixels as target': { normalisedTarget: true },
  'pseudo-labels from the first step on': { phases: { reconstruct: 0.2, finetune: 0, semiSupervised: 0.8 } },
  'the pseudo-labels': { gate: 'never' },
  'the proof of precision': { gate: 'paper' },
  'soft targets': { softTargets: false },
  'the gate': { gate: 'always' },
  'the rule that both views agree': { agreement: false },
  'strong views': { strongAugmentation: false },
  alignment: { alignment: false },
  mixup: { mixup: 0 },
  'label smoothing': { labelSmoothing: 0 },
  readout: { readout: 'mean' },
  'all but a plain ViT': { ...plain, shortcut: false, neighbours: false },
  'the teacher': { teacherDecay: 0 },
  /** As `pawl` has it. */
  'the paper\'s learning rate': { learningRate: 1e-3 },
} as const satisfies Record<string, Partial<Recipe>>

type Single = keyof typeof single
type Beside = Exclude<Single, 'nothing' | 'shortcut' | 'neighbours' | 'all but a plain ViT'>
export type Ablation = Single | `shortcut + ${Beside}`

const { nothing: _, shortcut, neighbours: __, 'all but a plain ViT': ___, ...others } = single
const beside = Object.entries<Partial<Recipe>>(others).map(([name, switches]) => [`shortcut + ${name}`, { ...shortcut, ...switches }])
export const ablations = { ...single, ...Object.fromEntries(beside) as object } as Record<Ablation, Partial<Recipe>>

/** What a run leaves out, by its switches; null: nothing. */
export function leftOut(switches: Partial<Recipe>): string | null {
  const name = Object.entries(ablations).find(([, given]) => JSON.stringify(given) === JSON.stringify(switches))?.[0] ?? JSON.stringify(switches)
  return name === 'nothing' ? null : name
}
