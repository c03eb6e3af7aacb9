/** Runs that are not among the results yet, one after the other: each adds its line, and one that is interrupted goes on from its checkpoint. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { classes } from '../../fixtures/dataset.js'
import { recipeOf } from '../../trainer/recipe.js'
import { leftOut } from './ablations.js'
import { isBaseline } from './baselines.js'
import { imageFolder, imagesOf } from './data.js'
import { run, type RunKey, type RunResult } from './run.js'
import { completed, say } from './script.js'

/** All results that the file has in the end. The test images are opened only where a run is not to choose by. */
export async function runMissing(keys: readonly RunKey[], file: string): Promise<RunResult[]> {
  say(`photographs as files in ${imageFolder}`)
  const photographs = { train: await imagesOf('train'), test: keys.every(({ choose }) => choose) ? [] : await imagesOf('t10k'), classes }
  const folderOf = (key: RunKey) => join(imageFolder, 'runs', nameOf(key).replaceAll(' ', '-'))
  return completed<RunKey, RunResult>(keys, {
    file, nameOf, holds: isOfToday,
    run: async key => {
      const folder = folderOf(key)
      await mkdir(folder, { recursive: true })
      const result = await run(key, photographs, { folder, say })
      say(`  ${percent(result.accuracy)} of the test images, ${percent(result.framesAccuracy)} of the frames, ${(100 * result.validationAccuracy).toFixed(1)} % of the validation images`)
      return result
    },
    onKept: key => rm(folderOf(key), { recursive: true, force: true }),
  })
}

/** Whether a round of this method would do today what this one did. */
export function isOfToday({ method, switches, recipe }: RunResult): boolean {
  return isBaseline(method) || isDeepStrictEqual(recipe, recipeOf(method, switches))
}

function nameOf({ method, perClass, seed, minutes, steps, validation, frames, switches, choose }: RunKey): string {
  const without = leftOut(switches)
  const length = minutes !== null ? `${String(minutes)} min` : steps !== null ? `${String(steps)} steps` : 'to its end'
  return `${method}${without === null ? '' : ` without ${without}`} ${String(perClass)} a class, seed ${String(seed)}, ${length}, ${String(validation)} validation images${frames === null ? '' : `, ${String(frames)} frames`}${choose ? ', to choose by' : ''}`
}

function percent(share: number | null): string {
  return share === null ? 'no look' : `${(100 * share).toFixed(2)} %`
}
