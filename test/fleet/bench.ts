/**
 * `npm run bench:fleet -- --boxes 10000`: the page of a fleet in Chromium, over simulated boxes on mosquitto as it is installed: what the
 * server takes, when the table is there, how far it is behind. All of it on one machine. Minutes.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { connectAsync } from 'mqtt'
import type { Browser } from 'playwright-core'
import type { AskProgress } from '../../agent/fleet/answers.js'
import { ended } from '../../agent/lib/child.js'
import { openBrowser } from '../browser.js'
import { freePort } from '../free-port.js'
import { Mosquitto } from '../site/mosquitto.js'

const { values } = parseArgs({ options: { boxes: { type: 'string', default: '10000' }, repeats: { type: 'string', default: '7' }, updates: { type: 'string', default: '40' } } })
const boxes = Number(values.boxes)
const root = join(import.meta.dirname, '../..')
const folder = await mkdtemp(join(tmpdir(), 'pawl-fleet-bench-'))
const children: ChildProcess[] = []
const print = (what: string, figure: string) => { process.stdout.write(`${what.padEnd(72)} ${figure}\n`) }
const median = (all: readonly number[]) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`

/** Resolves at the first line that says so. */
async function run(args: readonly string[], until: RegExp): Promise<{ child: ChildProcess; said: string; tookMs: number }> {
  const beganMs = performance.now()
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  let said = ''
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        said += `${line}\n`
        if (until.test(line)) resolve()
      })
    }
    void ended(child).then(() => { reject(new Error(`it ended: ${said}`)) })
  })
  return { child, said, tookMs: performance.now() - beganMs }
}

async function memoryOf({ pid }: ChildProcess): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8')
  const of = (name: string) => 1024 * Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1])
  return { now: of('VmRSS'), peak: of('VmHWM') }
}

/** In the page: resolves when what is so has been painted. */
const whenPainted = `(so => new Promise(resolve => {
  const look = () => so() ? requestAnimationFrame(() => setTimeout(resolve)) : requestAnimationFrame(look)
  look()
}))`

/** When the first row has been painted, from the start of the navigation. */
async function firstPaintMs(browser: Browser, url: string): Promise<number> {
  const context = await browser.newContext({ viewport: { width: 1360, height: 800 } })
  const page = await context.newPage()
  await page.goto(url, { waitUntil: 'commit' })
  const ms = await page.evaluate<number>(`${whenPainted}(() => document.querySelector('[data-row]') !== null).then(() => performance.now())`)
  await context.close()
  return ms
}

try {
  const broker = await Mosquitto.in(folder)
  await broker.start()
  const simulation = await run(['--import', 'tsx', 'test/fleet/main.ts', '--boxes', String(boxes), '--broker', broker.url], /boxes at/)
  print(`${cpus()[0]?.model ?? ''}, ${String(cpus().length)} cores, for broker, boxes, server and browser`, '')
  print(`${String(boxes)} boxes say all that they retain`, seconds(simulation.tookMs))
  const port = await freePort()
  const fleet = await run(['dist/agent/main.js', 'fleet', '--broker', broker.url, '--port', String(port)], /all boxes are known/)
  const url = /page: (\S+)/.exec(fleet.said)?.[1] ?? ''
  print('start of the server until all boxes are known', seconds(fleet.tookMs))
  const browser = await openBrowser()
  const paints: number[] = []
  for (let count = 0; count < Number(values.repeats); count++) paints.push(await firstPaintMs(browser, url))
  print('first paint of the table, median (longest)', `${seconds(median(paints))} (${seconds(Math.max(...paints))})`)

  const page = await browser.newPage({ viewport: { width: 1360, height: 800 } })
  await page.goto(`${url}/#search=box-00001`)
  await page.waitForSelector('[data-row]')
  const client = await connectAsync(broker.url)
  let health = ''
  client.on('message', (_, payload) => { health = payload.toString() })
  await client.subscribeAsync('pawl/box-00001/health', { qos: 1 })
  while (health === '') await sleep(50)
  const behind: number[] = []
  for (let count = 0; count < Number(values.updates); count++) {
    const frames = 70_000_000 + count
    const wanted = JSON.stringify(frames.toLocaleString('en-US'))
    const seen = page.evaluate<number>(`${whenPainted}(() => document.querySelector('.shown')?.textContent.includes(${wanted})).then(() => Date.now())`)
    await sleep(50 + 37 * (count % 13))
    const atMs = Date.now()
    await client.publishAsync('pawl/box-00001/health', JSON.stringify({ ...JSON.parse(health) as object, frames }), { qos: 1, retain: true })
    behind.push(await seen - atMs)
  }
  behind.sort((a, b) => a - b)
  print('published to painted, median (longest)', `${seconds(median(behind))} (${seconds(behind.at(-1) ?? 0)})`)

  await page.goto(`${url}/#filter=degraded&sort=-accuracy`)
  await page.waitForSelector('[data-row]')
  print('rows in the document', String(await page.locator('.shown [role=row]').count()))
  const beganMs = performance.now()
  const { message } = await (await fetch(`${url}/api/boxes`)).json() as { message: { rows: { device: string }[] } }
  const body = JSON.stringify({ verb: 'status', devices: message.rows.map(({ device }) => device) })
  const { id } = await (await fetch(`${url}/api/asks`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json() as { id: string }
  for (let answered = 0; answered < 0.9 * boxes;) {
    await sleep(200)
    const { counts } = await (await fetch(`${url}/api/asks/${id}`)).json() as AskProgress
    answered = counts.ok
  }
  print('a command to all boxes: nine of ten have answered', seconds(performance.now() - beganMs))
  const scrapedMs = performance.now()
  const text = await (await fetch(`${url}/metrics`)).text()
  print('numbers for Prometheus of all boxes', `${seconds(performance.now() - scrapedMs)}, ${(Buffer.byteLength(text) / 1e6).toFixed(1)} MB`)
  const size = await (await fetch(`${url}/api/boxes`, { headers: { 'accept-encoding': 'gzip' } })).arrayBuffer()
  print('all rows, as JSON', `${(size.byteLength / 1e6).toFixed(1)} MB`)
  const { now, peak } = await memoryOf(fleet.child)
  print('memory of the server now, and at its most', `${(now / 1e6).toFixed(0)} MB, ${(peak / 1e6).toFixed(0)} MB`)
  await client.endAsync()
  await browser.close()
  await broker.stop()
} finally {
  for (const child of children) child.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
}
process.exit(0)
