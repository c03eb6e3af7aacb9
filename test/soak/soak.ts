/**
 * Days in minutes: cameras at a high rate that come and go, a broker that does, rounds one after the other, another configuration now and then,
 * somebody who asks and labels. What the daemon holds meanwhile is read every few seconds.
 */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import { bundled } from '../../agent/config.js'
import { HttpCamera, sends } from '../cameras/http-camera.js'
import { freePort } from '../free-port.js'
import { Box } from '../site/box.js'
import { withClock } from '../site/clock.js'
import type { Daemon } from '../site/daemon.js'
import { classes } from '../site/labels.js'
import { read } from './read.js'
import type { Reading } from './verdict.js'

export interface SoakOptions {
  minutes: number
  /** An empty folder. */
  folder: string
  /** Nothing but frames: the same classifier from the first to the last. */
  calm: boolean
  say: (line: string) => void
}

export interface SoakReport {
  readings: Reading[]
  /** What happened, and how often. */
  happened: Record<string, number>
  /** What should not have. */
  problems: string[]
}

/** A day takes a minute. */
const speed = 1440
const readEveryMs = 5000
const cameras = ['gate', 'door']
const pictureEveryMs = 50

export async function soak({ minutes, folder, calm, say }: SoakOptions): Promise<SoakReport> {
  const pictures = await someWorld()
  const sources = new Map<string, HttpCamera>()
  const addresses = await Promise.all(cameras.map(async id => {
    let at = 0
    const camera = new HttpCamera(sends(() => pictures[at++ % pictures.length] ?? Buffer.alloc(0), pictureEveryMs))
    sources.set(id, camera)
    return { id, source: 'mjpeg', url: await camera.start(), crop: 'whole', maxPerSecond: 20, silentAfterSeconds: 3 }
  }))
  const monitoring = await freePort()
  const box = await Box.in(folder, {
    cameras: addresses, frames: { maxBytes: 3_000_000 }, monitoring: { port: monitoring }, mqtt: { predictionEveryMs: 200 },
    rounds: { schedule: calm ? '0 0 29 2 *' : '0 */8 * * *', newFrames: 0 }, drift: { reference: 100, window: 50 },
  })
  const daemon = box.start({ environment: withClock({ speed }) })
  const run: Run = { box, daemon, sources, monitoring, report: { readings: [], happened: {}, problems: [] } }
  const beganAtMs = performance.now()
  const seconds = () => (performance.now() - beganAtMs) / 1000
  try {
    await daemon.said(/^model \d+ is in service/, { withinMs: 180_000 })
    let nextMs = performance.now()
    let saidMinute = -1
    const due = new Map<string, number>(Object.entries(calm ? {} : events).map(([name, { everySeconds }]) => [name, everySeconds]))
    while (seconds() < minutes * 60 && daemon.running) {
      for (const [name, atSeconds] of due) {
        if (seconds() < atSeconds) continue
        const { everySeconds, happens } = events[name as keyof typeof events]
        due.set(name, seconds() + everySeconds)
        await happens(run).catch((cause: unknown) => { run.report.problems.push(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`) })
        run.report.happened[name] = (run.report.happened[name] ?? 0) + 1
      }
      const values = await read(daemon, box.data)
      if (values) run.report.readings.push({ seconds: seconds(), values })
      if (values && Math.floor(seconds() / 60) > saidMinute) {
        saidMinute = Math.floor(seconds() / 60)
        say(`${String(saidMinute)} min: ${Object.entries(values).map(([name, value]) => `${name} ${value.toFixed(0)}`).join(', ')}`)
      }
      nextMs += readEveryMs
      await sleep(Math.max(0, nextMs - performance.now()))
    }
    if (!daemon.running) run.report.problems.push(`it ended by itself:\n${daemon.lines.slice(-20).join('\n')}`)
    const { code } = await daemon.end()
    if (code !== 0) run.report.problems.push(`told to end, it ended with code ${String(code)}`)
    count(run, /^round \d+: (promoted|refused)/, 'rounds')
    count(run, /^model \d+ is in service/, 'models in service')
    count(run, /^\s+at .*:\d+:\d+\)?$/, 'unexpected errors')
    run.report.happened.predictions = box.onlooker.messages.filter(({ topic }) => topic.endsWith('/prediction')).length
    if (run.report.happened['unexpected errors']) run.report.problems.push(`it printed the stack of an unexpected error:\n${daemon.text.slice(-5000)}`)
    return run.report
  } finally {
    await daemon.cut()
    await box.close()
    for (const camera of sources.values()) await camera.stop()
  }
}

interface Run {
  box: Box
  daemon: Daemon
  sources: Map<string, HttpCamera>
  monitoring: number
  report: SoakReport
}

const events = {
  'a camera is cut off': {
    everySeconds: 17,
    happens: ({ sources }) => Promise.resolve(sources.get('gate')?.cut()),
  },
  'a camera sends garbage': {
    everySeconds: 43,
    happens: async ({ sources }) => {
      const camera = sources.get('door')
      if (!camera) return
      const { behaviour } = camera
      camera.behaviour = sends(() => randomBytes(3000), pictureEveryMs)
      camera.cut()
      await sleep(2000)
      camera.behaviour = behaviour
      camera.cut()
    },
  },
  'the broker starts anew': {
    everySeconds: 61,
    happens: async ({ box: { broker } }) => {
      await broker.stop()
      await sleep(1000)
      await broker.start()
    },
  },
  'the configuration is read anew': {
    everySeconds: 120,
    happens: async ({ daemon }) => {
      const from = daemon.lines.length
      process.kill(daemon.pid, 'SIGHUP')
      await daemon.said(/^pawl is running/, { from })
    },
  },
  'somebody asks': {
    everySeconds: 5,
    happens: async ({ box, monitoring }) => {
      if (box.broker.running) await Promise.race([box.onlooker.ask('status', { transaction: String(Math.random()) }), sleep(1000)])
      await fetch(`http://127.0.0.1:${String(monitoring)}/metrics`, { signal: AbortSignal.timeout(2000) }).then(response => response.text()).catch(() => '')
    },
  },
} as const satisfies Record<string, { everySeconds: number; happens: (run: Run) => Promise<void> }>

/** What passes the cameras: every picture another, now and then the same again. */
async function someWorld(): Promise<Buffer[]> {
  const files = (await Promise.all(classes.map(async label => (await readdir(join(bundled('test'), label))).slice(0, 60).map(name => join(bundled('test'), label, name))))).flat()
  return Promise.all(files.map((file, index) => sharp(file).resize(160, 160).linear(0.6 + (index % 5) / 10).jpeg().toBuffer()))
}

function count({ daemon, report }: Run, pattern: RegExp, what: string): void {
  report.happened[what] = daemon.lines.filter(line => pattern.test(line)).length
}
