/** Plots of results, as files. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TopLevelSpec } from 'vega-lite'
import { chart } from '../bench/chart.js'
import { say, stop } from './script.js'

interface PlotOptions<Result> {
  /** Where the results are from. */
  file: string
  /** Made where it is not there. */
  folder: string
  /** By the name of the picture; null: the results have nothing to show in it. */
  specs: Readonly<Record<string, (results: readonly Result[]) => TopLevelSpec | null>>
}

/** Draws a picture a spec. Ends with 2 where there is no result. */
export async function plot<Result>(results: readonly Result[], { file, folder, specs }: PlotOptions<Result>): Promise<void> {
  if (!results.length) stop(`--plot: no results in ${file}; name a file that has some with --results, or leave out --render to make them`)
  await mkdir(folder, { recursive: true })
  for (const [name, specOf] of Object.entries(specs)) {
    const [picture, spec] = [join(folder, `${name}.svg`), specOf(results)]
    if (spec) await writeFile(picture, await chart(spec))
    say(spec ? `plot: ${picture}` : `no ${picture}: none of the results has anything to show in it`)
  }
}
