/** Steps timed in a process of their own: `TimingOptions` as JSON in the first argument, the times as JSON on stdout. */
import type * as Bench from '../../trainer/bench.js'

// What is built is measured, as it is what runs; `npm run bench:engine` builds it.
const built = new URL('../../dist/trainer/bench.js', import.meta.url).href
const { timeSteps } = await import(built) as typeof Bench

const times = await timeSteps(JSON.parse(process.argv[2] ?? '') as Bench.TimingOptions)
process.stdout.write(JSON.stringify({ ...times, peakRssBytes: process.resourceUsage().maxRSS * 1024 }))
