/** Few labels, with which a round takes seconds. */
import { copyFile, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bundled } from '../../agent/config.js'

export const classes = ['ankle-boot', 'bag', 'trouser']

/** Copies so many bundled images of each class below `folder`. */
export async function copyLabels(part: 'labeled' | 'validation' | 'test', perClass: number, folder: string): Promise<void> {
  for (const label of classes) {
    await mkdir(join(folder, label), { recursive: true })
    const names = (await readdir(join(bundled(part), label))).sort().slice(0, perClass)
    for (const name of names) await copyFile(join(bundled(part), label, name), join(folder, label, name))
  }
}

/** Rounds of some seconds, one after the other, most of which put a new model in service. */
export const shortRounds = {
  schedule: '* * * * * *', newFrames: 0, minutes: 0.13, firstMinutes: 0.13, maxFrames: 30, backend: 'onnxruntime', refreshMargin: 0.49,
  // Others test meanwhile.
  priority: 'low', lanes: 1,
} as const
/** No round but the first. */
export const seldom = '0 0 29 2 *'
