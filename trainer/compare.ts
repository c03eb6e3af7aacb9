/** Two models, as the files that would serve, on the promotion split: in a round here alone is it predicted on. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelFile } from './backend/model-file.js'
import type { RoundResult, RoundSpec } from './contract.js'
import { split } from './data/learned.js'
import { loadImages, type Unreadable } from './data/load.js'
import { labelsOf, predictionsOf, probabilitiesOf } from './evidence.js'
import type { Turns } from './turns.js'

export interface CompareOptions extends Pick<RoundSpec, 'promotion' | 'champion'> {
  /** Folder of the challenger's model.onnx, and the pixels a side that it reads. */
  challenger: { folder: string; size: number }
  /** What is judged beside the classes that the images show. */
  classes: readonly string[]
  /** Fingerprints, at the challenger's size, of images that are to be left out. */
  known?: ReadonlySet<string>
  turns: Turns
}

/** Errors: what its turns raise; a model file that cannot be run. */
export async function compare(
  { promotion, champion, challenger, classes: judged, known = new Set(), turns }: CompareOptions,
): Promise<Pick<RoundResult, 'evidence' | 'paths'> & { unreadable: Unreadable[] }> {
  const loaded = await loadImages(promotion, ({ path }) => path, challenger.size, turns)
  const { unknown: { items, pixels }, known: leftOut } = split(loaded, known)
  // A class that the challenger does not know any more is one that it gets wrong.
  const classes = [...new Set([...judged, ...loaded.items.map(({ label }) => label)])].sort()
  const labels = labelsOf(items, classes)
  const predict = async (folder: string) => {
    const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
    const sized = model.metadata.size === challenger.size
      ? pixels
      : (await loadImages(items, ({ path }) => path, model.metadata.size, turns)).pixels
    const predictions = predictionsOf(await probabilitiesOf(model, sized), model.metadata.classes, classes, labels)
    await model.release()
    return predictions
  }
  return {
    evidence: {
      classes, labels, scenes: items.map(({ scene, path }) => scene ?? path),
      challenger: await predict(challenger.folder),
      champion: champion ? await predict(champion.folder) : null,
      ...leftOut.length > 0 && { leftOut: labelsOf(leftOut, classes) },
    },
    paths: items.map(({ path }) => path),
    unreadable: loaded.unreadable,
  }
}
