import { readdirSync } from 'node:fs'
import { train, decodeImage, ModelFile, type LabeledImage, type MethodName } from './index.js'
import { metricsOf, probabilitiesOf, labelsOf } from './evidence.js'
import { readFileSync } from 'node:fs'
if (process.env['R']) Object.assign((await import('./recipe.js')).recipes.ssmae, JSON.parse(process.env['R']))
const f = '/work/main/fixtures/fashion-mnist/'
const list = (d: string): LabeledImage[] => readdirSync(f + d).flatMap(label => readdirSync(f + d + '/' + label).map(n => ({ path: f + d + '/' + label + '/' + n, label })))
const val = list('validation')
const [minutes, method, out] = [Number(process.argv[2]), process.argv[3] as MethodName, process.argv[4]!]
const t0 = Date.now(); let last = 0
const r = await train({ labeled: list('labeled'), unlabeled: readdirSync(f + 'unlabeled').map(n => f + 'unlabeled/' + n), gate: val.filter((_, i) => i % 2 === 0), promotion: val.filter((_, i) => i % 2), out, preset: 'nano', method, seed: Number(process.argv[5] ?? 1), steps: null, minutes, backend: 'auto', device: 'auto', champion: null, lanes: null },
 { signal: new AbortController().signal, onEvent: e => { if (e.type === 'progress') { if (Date.now() - last > 10000) { last = Date.now(); console.log(Math.round((Date.now()-t0)/1000), e.phase, e.step, e.steps, JSON.stringify(e.losses), e.imagesPerSecond.toFixed(0)) } } else console.log(JSON.stringify(e)) } })
console.log(JSON.stringify({ ...r.card, gate: undefined, recipe: undefined }))
const test = list('test'); const px = await Promise.all(test.map(t => decodeImage(t.path, 28)))
const m = await ModelFile.open(readFileSync(out + '/model.onnx'))
const classes = m.metadata.classes
console.log('RESULT', JSON.stringify({ gate: r.card.validation.accuracy, promotion: r.evidence.challenger.predicted.filter((p, i) => p === r.evidence.labels[i]).length / r.evidence.labels.length, steps: r.card.steps, used: r.card.pseudoLabels }))
process.exit(0)
