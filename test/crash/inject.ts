/** A box with one fault: what it must do all the same. */
import { setTimeout as sleep } from 'node:timers/promises'
import { registryFiles, type Fault } from './faults.js'
import type { Grown } from './grown.js'
import { Truth } from './truth.js'

/** What was not as it should be. */
export async function injected(grown: Grown, { damage, says, serves, refuses }: Fault): Promise<string[]> {
  const { box, newest, former } = grown
  const problems: string[] = []
  await grown.restore()
  await damage(grown)
  const before = await registryFiles(grown)
  const truth = new Truth(box)
  await truth.take()
  const startedAtMs = Date.now()
  const daemon = box.start()
  try {
    if (refuses) {
      await daemon.said(refuses)
      for (let tries = 0; daemon.running && tries < 100; tries++) await sleep(50)
      if (daemon.child.exitCode !== 1) problems.push(`it ended with ${String(daemon.child.exitCode)}, not 1`)
      if ((await registryFiles(grown)).join() !== before.join()) problems.push('it changed the registry that it refused')
      return problems
    }
    await daemon.said(/^pawl is running/)
    const expected = serves === 'none' ? null : serves === 'former' ? former.version : newest.version
    if (expected !== null) {
      const [, version] = await daemon.said(/^model (\d+) is in service/)
      if (Number(version) !== expected) problems.push(`model ${String(version)} serves, not model ${String(expected)}`)
      await daemon.said(/^belt: .*\(model \d+/)
    }
    // One that goes on, one that begins by itself, or this one.
    await box.onlooker.ask('train')
    await daemon.said(/^round \d+: (promoted|refused \((?!crashed))/)
    if (says) await daemon.said(says, { withinMs: 1000 })
    problems.push(...await truthOf(truth, startedAtMs))
    const { code } = await daemon.end()
    if (code !== 0) problems.push(`told to end, it ended with code ${String(code)}`)
  } catch (cause) {
    problems.push(cause instanceof Error ? cause.message : String(cause))
  } finally {
    await daemon.cut()
  }
  if (/^\s+at .*:\d+:\d+\)?$/m.test(daemon.text)) problems.push(`an unexpected error:\n${daemon.text}`)
  problems.push(...box.onlooker.wrong.splice(0))
  return problems
}

/** Labels are the same as ever; of the rest a fault may have taken its part. */
async function truthOf(truth: Truth, startedAtMs: number): Promise<string[]> {
  await truth.lookAtLabels()
  const left = await truth.leftovers(startedAtMs)
  return [...truth.problems.splice(0), ...left.length ? [`left over: ${left.join(', ')}`] : []]
}
