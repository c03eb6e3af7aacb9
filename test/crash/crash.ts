/** Cuts the power of a box again and again, and looks after each time whether all that was there is there still. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../../trainer/index.js'
import type { Daemon } from '../site/daemon.js'
import { Box } from '../site/box.js'
import { drawMoment, moments, type MomentName } from './moments.js'
import { longestStopMs } from './trial.js'
import { Truth } from './truth.js'

export interface CrashOptions {
  kills: number
  seed: number
  /** An empty folder. */
  folder: string
  /** Every so many kills another box begins with nothing. */
  killsPerBox?: number
  say: (line: string) => void
}

export interface CrashReport {
  kills: Partial<Record<MomentName, number>>
  /** Kills whose moment did not come in time: they came all the same. */
  late: number
  decisions: number
  promotions: number
  resumed: number
  givenUp: number
  events: number
  repeats: number
  /** From the start of the process to the first prediction, after a kill, where there was a model. */
  servingAgainMs: number[]
  problems: string[]
}

const longestWaitMs = 25_000
/** Shares of the kills before which the broker is gone, and a person has labeled an image. */
const [brokerGone, labels] = [0.15, 0.3]

export async function crash({ kills, seed, folder, killsPerBox = 25, say }: CrashOptions): Promise<CrashReport> {
  const report: CrashReport = {
    kills: {}, late: 0, decisions: 0, promotions: 0, resumed: 0, givenUp: 0, events: 0, repeats: 0, servingAgainMs: [], problems: [],
  }
  const random = Random.of(seed)
  for (let done = 0, count = 1; done < kills; done += killsPerBox, count++) {
    const own = join(folder, `box-${String(count)}`)
    await mkdir(own, { recursive: true })
    const box = await Box.in(own)
    try {
      await crashBox(box, { kills: Math.min(killsPerBox, kills - done), before: done, random, report, say })
    } finally {
      await box.close()
    }
  }
  return report
}

interface BoxRun { kills: number; before: number; random: Random; report: CrashReport; say: (line: string) => void }

async function crashBox(box: Box, { kills, before, random, report, say }: BoxRun): Promise<void> {
  const truth = new Truth(box)
  const tell = (where: string, problems: readonly string[]) => {
    for (const problem of problems) {
      report.problems.push(`${where}: ${problem}`)
      say(`  PROBLEM, ${where}: ${problem}`)
    }
  }
  let expected: number | null = null
  for (let kill = 1; kill <= kills; kill++) {
    const name = drawMoment(random)
    if (box.broker.running && random.float() < brokerGone) await box.broker.stop()
    else if (!box.broker.running) await box.broker.start()
    const inTime = await oneKill(box, { name, truth, expected, random, report })
    expected = await truth.look()
    if (kill % 5 === 0) await truth.verify()
    if (truth.hasLabels && random.float() < labels) await truth.labeled(await box.label())
    report.kills[name] = (report.kills[name] ?? 0) + 1
    if (!inTime) report.late++
    tell(`kill ${String(before + kill)} (${name}) of ${box.folder}`, truth.problems.splice(0))
    say(`${String(before + kill)}: ${name}${inTime ? '' : ' (late)'}; ${String(truth.decided.size)} decisions, model ${String(expected ?? 'none')}`)
  }
  if (!box.broker.running) await box.broker.start()
  await lastRun(box, { truth, expected, report })
  tell(`the end of ${box.folder}`, truth.problems.splice(0))
  report.decisions += truth.decided.size
  report.promotions += truth.served.size
  report.events += box.onlooker.events.size
  report.repeats += box.onlooker.repeats
}

interface OneRun { truth: Truth; expected: number | null; report: CrashReport }

/** Starts the daemon and kills it at its moment. Says whether that came in time. */
async function oneKill(box: Box, { name, random, ...run }: OneRun & { name: MomentName; random: Random }): Promise<boolean> {
  const { truth } = run
  const daemon = box.start()
  let seen = false
  const look = afterStart(box, daemon, run).then(() => { seen = true }, () => undefined)
  const waiting = new AbortController()
  const { signal } = waiting
  const inTime = await Promise.race([
    moments[name].comes({ daemon, data: box.data, random, signal }).then(() => true, () => false),
    sleep(longestWaitMs, false, { signal }).catch(() => false),
  ])
  waiting.abort()
  if (!daemon.running) truth.problems.push(`the daemon ended by itself:\n${daemon.lines.slice(-20).join('\n')}`)
  else if (!inTime && !seen) truth.problems.push(`not in service again after ${String(longestWaitMs)} ms:\n${daemon.lines.slice(-20).join('\n')}`)
  await daemon.cut()
  await look
  heard(daemon, run)
  return inTime
}

/** Until the daemon is as it should be after a start. Errors: it ends before. */
async function afterStart(box: Box, daemon: Daemon, { truth, expected, report }: OneRun): Promise<void> {
  const [beganAtMs, startedAtMs] = [performance.now(), Date.now()]
  await daemon.said(/^pawl is running/)
  if (expected !== null) {
    const [, version] = await daemon.said(/^model (\d+) is in service/)
    if (Number(version) !== expected) truth.problems.push(`model ${String(version)} serves after the start, not model ${String(expected)}`)
    await daemon.said(/^belt: .*\(model \d+/)
    report.servingAgainMs.push(performance.now() - beganAtMs)
  }
  const left = await truth.leftovers(startedAtMs)
  if (left.length) truth.problems.push(`left over after the start: ${left.join(', ')}`)
}

/** With all the time that it needs: everything arrives, and it ends when it is told to. */
async function lastRun(box: Box, run: OneRun): Promise<void> {
  const { truth } = run
  const daemon = box.start()
  await afterStart(box, daemon, run).catch((cause: unknown) => { truth.problems.push(String(cause)) })
  // On a slow machine each kill came before the first round was over.
  const decided = truth.decided.size ? Promise.resolve() : daemon.said(/^round \d+: (promoted|refused)/, { withinMs: 240_000 })
  await decided.catch((cause: unknown) => { truth.problems.push(String(cause)) })
  for (let tries = 0; tries < 300 && truth.missing().length; tries++) await sleep(100)
  truth.problems.push(...truth.missing())
  const beganAtMs = performance.now()
  const { code } = await daemon.end()
  const tookMs = performance.now() - beganAtMs
  if (code !== 0 || tookMs > longestStopMs) truth.problems.push(`told to end, it ended with code ${String(code)} after ${String(Math.round(tookMs))} ms`)
  await daemon.cut()
  heard(daemon, run)
  await truth.look()
  await truth.verify()
}

/** What it said is true from then on. */
function heard({ lines }: Daemon, { truth, report }: OneRun): void {
  for (const line of lines) {
    const version = /^model (\d+) is in service/.exec(line)?.[1]
    if (version !== undefined) truth.serves(Number(version))
    if (line.includes('it goes on after step')) report.resumed++
    if (line.includes('which was interrupted, is given up')) report.givenUp++
    // A stack is no message for anybody.
    if (/^\s+at .*\(?.*:\d+:\d+\)?$/.test(line)) truth.problems.push(`an unexpected error: ${line.trim()}`)
  }
}
