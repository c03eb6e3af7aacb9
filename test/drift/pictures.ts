/** Predictions of a real model on the bundled test photographs, as the bundled belt would show them. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import type { Drift } from '../../agent/camera/simulation.js'
import { bundled } from '../../agent/config.js'
import type { Sample } from '../../agent/drift/monitor.js'
import { decodeImage, Random, type ModelFile } from '../../trainer/index.js'

export type Prediction = Omit<Sample, 'camera' | 'capturedAtMs' | 'model'>

const side = 112

/** One prediction for each photograph, at most `count` of them, evenly over the classes. */
export async function predictionsOf(model: ModelFile, change: Drift, count = Infinity): Promise<Prediction[]> {
  const entries = await readdir(bundled('test'), { recursive: true, withFileTypes: true })
  const paths = entries.filter(entry => entry.isFile() && entry.name.endsWith('.png')).map(({ parentPath, name }) => join(parentPath, name)).sort()
  const random = Random.of(12)
  const chosen = [...random.permutation(paths.length)].slice(0, count).map(index => paths[index] ?? '')
  const predicted: Prediction[] = []
  for (const path of chosen) {
    const { probabilities, embedding } = await model.run(await decodeImage(await picture(path, change, random), model.metadata.size))
    predicted.push({
      embedding: embedding.slice(), confidence: Math.max(...probabilities),
      probabilities: Object.fromEntries(model.metadata.classes.map((name, index) => [name, probabilities[index] ?? 0])),
    })
  }
  return predicted
}

/** JPEG of an item alone: turned, lit, with the light's slow swing and the sensor's noise, blurred, as agent/camera/simulation.ts has it. */
async function picture(path: string, { light, turn, blur }: Drift, random: Random): Promise<Uint8Array> {
  const { data, info: { width, height } } = await sharp(path).resize(side, side, { kernel: 'cubic' }).rotate(turn, { background: '#000' })
    .resize(side, side, { fit: 'inside' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
  const lit = light * (1 + 0.12 * Math.sin(2 * Math.PI * random.float()))
  const grey = data.map(value => Math.max(0, Math.min(255, value * lit + 3 * random.normal())))
  const image = sharp(grey, { raw: { width, height, channels: 1 } })
  return (blur > 0 ? image.blur(blur) : image).jpeg({ quality: 92 }).toBuffer()
}
