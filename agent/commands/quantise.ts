import { resolve } from 'node:path'
import { quantiseModel, type Measured, type QuantiseReport } from '../classifier/quantise.js'
import { imagesToMeasure } from './eval.js'
import { percent, print, table, type OutputOptions } from './output.js'

export interface QuantiseCommand extends OutputOptions {
  model: string
  data: string
  out: string
  /** Points of accuracy, out of 100. */
  tolerance: number
  repeats: number
}

/** Ends with exit code 1 when the int8 model is refused. */
export async function quantise(options: QuantiseCommand): Promise<void> {
  const out = resolve(options.out)
  const images = await imagesToMeasure(resolve(options.data))
  const report = await quantiseModel({ folder: resolve(options.model), out, images, tolerance: options.tolerance / 100, repeats: options.repeats })
  for (const { path, reason } of report.quarantined) process.stderr.write(`left out ${path}: ${reason}\n`)
  print(options, { out: report.kept ? out : null, ...report }, [
    ...table(['model', 'right', 'accuracy', 'bytes', 'session p50 (ms)', 'JPEG to prediction p50 (ms)'], [
      row('float32', report.before), row('int8', report.int8),
    ]),
    verdict(report, options.out),
  ])
  if (!report.kept) process.exitCode = 1
}

function row(name: string, { correct, accuracy, fileBytes, times }: Measured) {
  return [name, correct, percent(accuracy), fileBytes, times.sessionP50Ms.toFixed(2), times.p50Ms.toFixed(2)]
}

function verdict({ kept, comparison }: QuantiseReport, out: string): string {
  const { images, wins, losses, gainLowerBound, leastGain } = comparison
  const points = (share: number) => `${(100 * share).toFixed(2)} points`
  const evidence = `of ${String(images)} images only int8 has ${String(wins)} right, only float32 ${String(losses)}: with 95 % confidence int8 gains more than ${points(gainLowerBound)}`
  if (kept) return `${out}: ${evidence}, and ${points(leastGain)} were allowed`
  // Enough images would have proved it, had the models differed on none.
  const advice = losses === 0 ? '; nothing was lost, but the images are too few: give more' : ''
  return `refused, nothing written: ${evidence}, which does not exclude a loss of ${points(-leastGain)}${advice}`
}
