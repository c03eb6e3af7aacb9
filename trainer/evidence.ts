/** What a model is worth on images that it never learned from. */
import type { ModelFile } from './backend/model-file.js'
import type { LabeledImage, Metrics, Predictions } from './contract.js'
import { wilsonInterval } from './gate/statistics.js'

/** Images in one forward. */
const chunk = 64

/** Class probabilities [N][C] of a model on decoded images, classes in the model's own order. */
export async function probabilitiesOf(model: ModelFile, images: readonly Uint8Array[]): Promise<number[][]> {
  const rows: number[][] = []
  const classes = model.metadata.classes.length
  for (let start = 0; start < images.length; start += chunk) {
    const { probabilities } = await model.run(new Uint8Array(Buffer.concat(images.slice(start, start + chunk))))
    for (let at = 0; at < probabilities.length; at += classes) rows.push([...probabilities.subarray(at, at + classes)])
  }
  return rows
}

/** A model's predictions in terms of `classes`, which may be others than its own. */
export function predictionsOf(
  rows: readonly (readonly number[])[], own: readonly string[], classes: readonly string[], labels: readonly number[],
): Predictions {
  const predicted = rows.map(row => classes.indexOf(own[argMax(row)] ?? ''))
  const nll = rows.map((row, index) => negativeLog(row[own.indexOf(classes[labels[index] ?? -1] ?? '')] ?? 0))
  const unnamed = classes.flatMap((name, label) => (own.includes(name) ? [] : [label]))
  return { predicted, nll, confidence: rows.map(row => Math.max(...row)), ...unnamed.length > 0 && { unnamed } }
}

export function metricsOf(rows: readonly (readonly number[])[], labels: readonly number[]): Metrics {
  const images = rows.length
  const right = rows.map((row, index) => argMax(row) === labels[index])
  const correct = right.filter(Boolean).length
  return {
    images,
    correct,
    accuracy: images ? correct / images : 0,
    interval: wilsonInterval(correct, images),
    nll: mean(rows.map((row, index) => negativeLog(row[labels[index] ?? -1] ?? 0))),
    ece: calibrationError(rows.map(row => Math.max(...row)), right),
  }
}

/** Expected calibration error over 15 equal bins of confidence, 0 to 1 (Guo et al., 2017). */
export function calibrationError(confidences: readonly number[], right: readonly boolean[]): number {
  const bins = Array.from({ length: 15 }, () => ({ confidence: 0, correct: 0 }))
  confidences.forEach((confidence, index) => {
    const bin = bins[Math.min(bins.length - 1, Math.floor(confidence * bins.length))]
    if (!bin) return
    bin.confidence += confidence
    bin.correct += right[index] ? 1 : 0
  })
  return confidences.length ? bins.reduce((sum, bin) => sum + Math.abs(bin.confidence - bin.correct), 0) / confidences.length : 0
}

/** Mean negative log-likelihood of the labels by logits [N][C], in nats; of images whose class the model does not know (−1) they tell nothing. */
export function meanNll(logits: readonly (readonly number[])[], labels: readonly number[], temperature: number): number {
  return mean(logits.flatMap((row, index) => {
    const own = row[labels[index] ?? -1]
    if (own === undefined) return []
    const scaled = row.map(value => value / temperature)
    const top = Math.max(...scaled)
    const sum = scaled.reduce((total, value) => total + Math.exp(value - top), 0)
    return [top + Math.log(sum) - own / temperature]
  }))
}

/**
 * The temperature that makes logits [N][C] most likely, by golden-section search on its logarithm; 1 where no label tells anything. `spread`: how far
 * from 0 that logarithm is expected to lie, the deviation of a normal distribution; Infinity: anywhere.
 */
export function fitTemperature(logits: readonly (readonly number[])[], labels: readonly number[], spread = Infinity): number {
  const known = labels.filter(label => label >= 0).length
  if (known === 0) return 1
  const loss = (logTemperature: number) => meanNll(logits, labels, Math.exp(logTemperature)) + (logTemperature / spread) ** 2 / (2 * known)
  const ratio = (Math.sqrt(5) - 1) / 2
  let [low, high] = [Math.log(0.1), Math.log(10)]
  for (let round = 0; round < 40; round++) {
    const [left, right] = [high - ratio * (high - low), low + ratio * (high - low)]
    if (loss(left) < loss(right)) high = right
    else low = left
  }
  return Math.exp((low + high) / 2)
}

export function softmax(row: readonly number[], temperature = 1): number[] {
  const top = Math.max(...row)
  const powers = row.map(value => Math.exp((value - top) / temperature))
  const sum = powers.reduce((total, value) => total + value, 0)
  return powers.map(value => value / sum)
}

export function argMax(row: readonly number[]): number {
  return row.reduce((best, value, index) => (value > (row[best] ?? -Infinity) ? index : best), 0)
}

/** The share that each class has among the labels [C], as if each had been seen once more. */
export function priorOf(labels: readonly number[], classCount: number): number[] {
  return Array.from({ length: classCount }, (_, label) =>
    (labels.filter(other => other === label).length + 1) / (labels.length + classCount))
}

export function labelsOf(images: readonly LabeledImage[], classes: readonly string[]): number[] {
  return images.map(({ label }) => classes.indexOf(label))
}

function negativeLog(probability: number): number {
  return -Math.log(Math.max(probability, 1e-12))
}

function mean(values: readonly number[]): number {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0
}
