/** A reporter in a process of its own, for tests that kill it: node report-child.ts URL OUTBOX. */
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { Reporter } from '../agent/report/reporter.js'

const [, , url = '', folder = ''] = process.argv
await new Reporter({
  device: 'box-7', version: '0',
  connection: { url, username: '', password: '', tls: { ca: '', cert: '', key: '' }, protocol: '3.1.1', longestWaitMs: 2000 },
  base: 'pawl', homeAssistant: '', cameras: [], predictionEveryMs: 0,
  outbox: { folder, maxEvents: 10 }, told: `${folder}-told.json`,
  handlers: { train: () => null, status: () => null, reload: () => null }, former: { decision: null, frames: 0, frameBytes: 0 },
  emit: () => undefined, clock: systemClock, random: Math.random, logger: createLogger({ level: 'warn' }),
}).start()
