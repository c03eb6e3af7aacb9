import { resolve } from 'node:path'
import type { LabeledImage } from '../../trainer/index.js'
import { evaluateModel, openModel } from '../classifier/evaluate.js'
import { PawlError } from '../errors.js'
import { readClassFolders } from '../frames/labels.js'
import { percent, print, table, type OutputOptions } from './output.js'

/** Images to measure with. Errors: LABELS_INSUFFICIENT when there are none. */
export async function imagesToMeasure(data: string): Promise<LabeledImage[]> {
  const { images } = await readClassFolders(data)
  if (images.length > 0) return images
  throw new PawlError('LABELS_INSUFFICIENT', `${data}: there are no images; it should hold one folder of JPEG, PNG or WebP images for each class`)
}

export async function evaluate(options: OutputOptions & { model: string; data: string }): Promise<void> {
  const model = await openModel(resolve(options.model))
  const data = resolve(options.data)
  const result = await evaluateModel(model, await imagesToMeasure(data))
  for (const { path, reason } of result.quarantined) process.stderr.write(`left out ${path}: ${reason}\n`)
  if (result.images === 0) throw new PawlError('IMAGE_UNREADABLE', `${data}: none of its images can be read, so nothing was measured`)
  print(options, result, [
    `${String(result.correct)} of ${String(result.images)} right: ${percent(result.accuracy)} (95 %: ${result.interval.map(percent).join(' to ')});`
    + ` calibration error ${percent(result.ece)}, negative log-likelihood ${result.nll.toFixed(3)}`,
    ...table(['class', 'images', 'right', 'accuracy'], result.perClass.map(row => [row.class, row.images, row.correct, percent(row.accuracy)])),
  ])
}
