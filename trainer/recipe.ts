/** How a round learns: every ingredient a named switch, and the recipes that have a name. */
import type { MethodName } from './contract.js'
import type { GateKind } from './gate/pseudo-label-gate.js'
import { activations, type Activation } from './model/layers.js'
import type { Readout } from './model/parameters.js'

export interface Recipe {
  /** Masked reconstruction beside classification. */
  reconstruction: boolean
  /** Share of the patches that the reconstruction does not see. */
  maskRatio: number
  /** Reconstruct each patch at zero mean and unit variance of its own pixels. */
  normalisedTarget: boolean
  /** Shares of the round's time: reconstruction alone, labels, labels and pseudo-labels. They sum to 1. */
  phases: { reconstruct: number; finetune: number; semiSupervised: number }
  /** A classifier on the dictionary beside the transformer, fitted before that learns: to labels, and to frames that the gate lets teach. */
  shortcut: boolean
  /**
   * The nearest neighbours of an image have a say in its pseudo-label, half of what is said before the transformer learns: labels spread
   * over the graph of pictures that the dictionary describes alike. Needs the shortcut.
   */
  neighbours: boolean
  /** Each patch is told, beside its pixels, how much of each word of the dictionary lies in it. */
  stem: boolean
  /** What the transformer's head reads: the mean of all tokens, or each token at its own place, narrowed first. */
  readout: Readout
  /** What stands between the two products of a transformer block. */
  activation: Activation
  /** When pseudo-labels count. */
  gate: GateKind
  /**
   * While the gate is open, all frames teach the judge's sharpened word, not only the surest ones their likeliest class: what lies between two
   * classes tells where they part. Only the surest ones count as pseudo-labels, and only of them the gate promises something.
   */
  softTargets: boolean
  /** A pseudo-label counts only where the teacher says the same of the strong view, and is as sure of it. */
  agreement: boolean
  /** A mirror image shows the same class. Cameras that do not move see most things from one side. */
  mirror: boolean
  /** Loss on the strong view instead of the weak one. */
  strongAugmentation: boolean
  /** Bring the teacher's class mix to the prior of the labels. */
  alignment: boolean
  /** Weight of the pseudo-labels once fully ramped up. */
  unlabeledWeight: number
  reconstructionWeight: number
  /** Mix pairs of labeled images with a share drawn from Beta(mixup, mixup); 0: off. */
  mixup: number
  labelSmoothing: number
  learningRate: number
  weightDecay: number
  /** Learning rate of each encoder layer against the one above it, after the reconstruction phase. */
  layerDecay: number
  /** Longest memory of the teacher's running average of weights; 0: the student is its own teacher. */
  teacherDecay: number
  /** Begin with the champion's transformer where there is one of the same shape that knows something of the labels. The shortcut is fitted anew. */
  warmStart: boolean
}

const pawl: Recipe = {
  reconstruction: true,
  maskRatio: 0.75,
  normalisedTarget: false,
  phases: { reconstruct: 0, finetune: 0, semiSupervised: 1 },
  shortcut: true,
  neighbours: true,
  stem: true,
  readout: 'places',
  activation: 'squared-relu',
  gate: 'precision',
  softTargets: true,
  agreement: false,
  mirror: false,
  strongAugmentation: true,
  alignment: true,
  unlabeledWeight: 1,
  reconstructionWeight: 1,
  mixup: 0.2,
  labelSmoothing: 0.1,
  learningRate: 1e-3,
  weightDecay: 0.05,
  layerDecay: 1,
  teacherDecay: 0.99,
  warmStart: true,
}

/** `paper` is the recipe of arXiv 2601.20072 without the defects of its reference code. */
export const recipes: Readonly<Record<MethodName, Recipe>> = {
  pawl,
  ungated: { ...pawl, gate: 'always' },
  supervised: { ...pawl, reconstruction: false, shortcut: false, neighbours: false, gate: 'never', phases: { reconstruct: 0, finetune: 1, semiSupervised: 0 } },
  'mae-finetune': {
    ...pawl, shortcut: false, neighbours: false, gate: 'never', phases: { reconstruct: 0.5, finetune: 0.5, semiSupervised: 0 }, layerDecay: 0.8,
  },
  paper: {
    ...pawl,
    shortcut: false,
    neighbours: false,
    stem: false,
    readout: 'mean',
    activation: 'gelu',
    gate: 'paper',
    softTargets: false,
    agreement: true,
    phases: { reconstruct: 0, finetune: 0.1, semiSupervised: 0.9 },
    mirror: true,
    alignment: false,
    mixup: 0,
    labelSmoothing: 0,
    learningRate: 1e-4,
  },
}

/** What a round of a method does, with what it is told to do otherwise. */
export function recipeOf(method: MethodName, switches: Partial<Recipe>): Recipe {
  return { ...recipes[method], ...switches }
}

/** The transformer and nothing beside it, as peers have it: what speeds are compared with. */
export const plain = { stem: false, readout: 'mean' } as const satisfies Partial<Recipe>

/** The activation of a model by the recipe on its card; cards that do not name one are older than the choice. Errors: an unknown one. */
export function activationOf(recipe: Readonly<Record<string, unknown>>): Activation {
  const { activation = 'squared-relu' } = recipe
  if (typeof activation === 'string' && Object.hasOwn(activations, activation)) return activation as Activation
  throw new Error(`the card's activation is ${JSON.stringify(activation)}, expected one of ${Object.keys(activations).join(', ')}`)
}
