/** One trial of a grown box: what is not as it should be is noted, and nothing runs on afterwards. */
import type { Daemon } from '../site/daemon.js'
import type { Box } from '../site/box.js'
import type { Grown } from './grown.js'
import { Truth } from './truth.js'

/** Clean stop of the daemon: docker gives it as long. */
export const longestStopMs = 10_000

type StartOptions = Parameters<Box['start']>[0]

export class Trial {
  readonly box: Box
  readonly truth: Truth
  readonly problems: string[] = []
  readonly started: Daemon[] = []

  /** Gives the problems; what `work` raises is one too. */
  static async run({ box }: Pick<Grown, 'box'>, work: (trial: Trial) => Promise<void>): Promise<string[]> {
    const trial = new Trial(box)
    try {
      await work(trial)
    } catch (cause) {
      trial.problems.push(cause instanceof Error ? cause.message : String(cause))
    }
    for (const daemon of trial.started) {
      await daemon.cut()
      // A stack is no message for anybody.
      if (/^\s+at .*:\d+:\d+\)?$/m.test(daemon.text)) trial.problems.push(`an unexpected error:\n${daemon.text}`)
    }
    return [...trial.problems, ...trial.truth.problems, ...box.onlooker.wrong.splice(0)]
  }

  private constructor(box: Box) {
    this.box = box
    this.truth = new Truth(box)
  }

  start(options?: StartOptions): Daemon {
    const daemon = this.box.start(options)
    this.started.push(daemon)
    return daemon
  }

  /** Starts, and waits until the expected model answers; null: none is expected. */
  async serving(expected: number | null, options?: StartOptions): Promise<Daemon> {
    const daemon = this.start(options)
    await daemon.said(/^pawl is running/)
    if (expected !== null) {
      const [, version] = await daemon.said(/^model (\d+) is in service/)
      if (Number(version) !== expected) this.problems.push(`model ${String(version)} serves, not model ${String(expected)}`)
      await daemon.said(/^belt: .*\(model \d+/)
    }
    return daemon
  }

  /** A round ends as rounds do: one that goes on, one that begins by itself, or the one that is asked for. */
  async trains(daemon: Daemon): Promise<void> {
    await this.box.onlooker.ask('train')
    await daemon.said(/^round \d+: (promoted|refused \((?!crashed))/)
  }

  async refuses(daemon: Daemon, says: RegExp): Promise<void> {
    await daemon.said(says)
    const { code } = await daemon.ended()
    if (code !== 1) this.problems.push(`it ended with code ${String(code)}, not 1`)
  }

  async ends(daemon: Daemon): Promise<void> {
    const beganAtMs = performance.now()
    const { code } = await daemon.end()
    const tookMs = Math.round(performance.now() - beganAtMs)
    if (code !== 0 || tookMs > longestStopMs) this.problems.push(`told to end, it ended with code ${String(code)} after ${String(tookMs)} ms`)
  }
}
