/** A box with one fault: what it must do all the same. */
import { registryFiles, type Fault } from './faults.js'
import type { Grown } from './grown.js'
import { Trial } from './trial.js'

/** What was not as it should be. */
export function injected(grown: Grown, { damage, says, serves, refuses }: Fault): Promise<string[]> {
  return Trial.run(grown, async trial => {
    const { truth, problems } = trial
    await grown.restore()
    await damage(grown)
    await truth.take()
    const startedAtMs = Date.now()
    if (refuses) {
      const before = await registryFiles(grown)
      await trial.refuses(trial.start(), refuses)
      if ((await registryFiles(grown)).join() !== before.join()) problems.push('it changed the registry that it refused')
      return
    }
    const daemon = await trial.serving(serves === 'none' ? null : serves === 'former' ? grown.former.version : grown.newest.version)
    await trial.trains(daemon)
    if (says) await daemon.said(says)
    // Models and events may have been what the fault took; labels never are.
    await truth.lookAtLabels()
    const left = await truth.leftovers(startedAtMs)
    if (left.length) problems.push(`left over: ${left.join(', ')}`)
    await trial.ends(daemon)
  })
}
