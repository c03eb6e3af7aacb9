/** The classifier child: loads one model, proves that it answers sensibly, then classifies one image after another. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ModelFile } from '../../trainer/index.js'
import type { Classification, ClassifierReply, ClassifierRequest } from './protocol.js'

let model: ModelFile | null = null
let turn: Promise<void> = Promise.resolve()

function reply(message: ClassifierReply): void {
  process.send?.(message)
}

async function load({ path, sha256, threads }: Extract<ClassifierRequest, { type: 'load' }>): Promise<void> {
  try {
    const bytes = await readFile(path)
    const actual = createHash('sha256').update(bytes).digest('hex')
    if (actual !== sha256) throw new Error(`${path}: its SHA-256 is ${actual}, not ${sha256} as its card says`)
    const opened = await ModelFile.open(bytes, { threads })
    await canary(opened)
    model = opened
    reply({ type: 'ready', metadata: opened.metadata })
  } catch (cause) {
    reply({ type: 'refused', message: messageOf(cause) })
  }
}

/** Black, white and grey pictures: every answer must be a probability distribution over the model's own classes. */
async function canary(candidate: ModelFile): Promise<void> {
  const { size, classes } = candidate.metadata
  for (const level of [0, 128, 255]) {
    const { probabilities } = await candidate.run(new Uint8Array(size * size * 3).fill(level))
    const sum = probabilities.reduce((total, value) => total + value, 0)
    if (probabilities.length !== classes.length || !(Math.abs(sum - 1) < 1e-3)) {
      throw new Error(`the model answers a plain picture with ${String(probabilities.length)} probabilities that sum to ${String(sum)}; it has ${String(classes.length)} classes`)
    }
  }
}

async function classify(pixels: Uint8Array): Promise<Classification> {
  if (!model) throw new Error('no model is loaded')
  const { classes } = model.metadata
  const { probabilities, embedding } = await model.run(pixels)
  const best = probabilities.reduce((top, value, index) => (value > (probabilities[top] ?? 0) ? index : top), 0)
  return {
    label: classes[best] ?? '',
    confidence: probabilities[best] ?? 0,
    probabilities: Object.fromEntries(classes.map((name, index) => [name, probabilities[index] ?? 0])),
    embedding,
  }
}

async function answer({ id, pixels }: Extract<ClassifierRequest, { type: 'classify' }>): Promise<void> {
  try {
    reply({ type: 'classified', id, classification: await classify(pixels) })
  } catch (cause) {
    reply({ type: 'failed', id, message: messageOf(cause) })
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

process.on('message', (request: ClassifierRequest) => {
  turn = turn.then(() => (request.type === 'load' ? load(request) : answer(request)))
})
process.on('disconnect', () => { process.exit(0) })
// A signal to the whole group (Ctrl-C) is the agent's to handle: it lets its children finish.
process.on('SIGINT', () => undefined)
