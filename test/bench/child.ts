/** One measurement in a process of its own: a `Measurement` as JSON in the first argument, its result as JSON on stdout. */
import type * as Bench from '../../trainer/bench.js'
import type { Measurement } from './measure.js'

// What is built is measured, as it is what runs; `npm run bench:engine` builds it.
const built = new URL('../../dist/trainer/bench.js', import.meta.url).href
const { benchTrain, timeSteps } = await import(built) as typeof Bench

const { kind, options } = JSON.parse(process.argv[2] ?? '') as Measurement
const result = kind === 'train' ? await benchTrain(options) : await timeSteps(options)
process.stdout.write(JSON.stringify({ ...result, peakRssBytes: process.resourceUsage().maxRSS * 1024 }))
