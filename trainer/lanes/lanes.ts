/** All lanes of a round: hands out the shares of a step, waits for the gradients, then for the update. */
import { sharesMemory, type Engine } from '../backend/choose.js'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { evenLanes, type Preset } from '../model/presets.js'
import type { Recipe } from '../recipe.js'
import type { GradientReport, GradientTask, LaneSetup, LaneStudy, PredictTask } from './lane.js'
import type { SharedBuffers } from './shared.js'
import type { LaneUpdate } from './state.js'
import type { LaneAnswer, LaneTask } from './worker.js'

export interface LanesOptions extends LaneStudy {
  preset: Preset
  classCount: number
  recipe: Recipe
  seed: number
  engine: Engine
  buffers: SharedBuffers
}

/** What a whole step is made of; the lanes divide it among themselves. */
export interface StepTask extends Omit<GradientTask, 'share'> {
  step: number
  labeled: readonly number[]
  classes: readonly number[]
  unlabeled: readonly number[]
}

export class Lanes {
  private readonly options: LanesOptions
  private workers: LaneWorker[] = []

  constructor(options: LanesOptions) {
    this.options = options
  }

  get count(): number {
    return this.options.buffers.gradients.length
  }

  async start(): Promise<void> {
    const { buffers, ...rest } = this.options
    this.workers = buffers.gradients.map((_, index) => new LaneWorker({ ...rest, buffers, index, count: this.count }))
    await Promise.all(this.workers.map(worker => worker.ready))
  }

  /** Leaves the mean gradient of the step spread over the lanes' vectors. Losses are means over the lanes, the time is the slowest one's. */
  async gradients({ step, labeled, classes, unlabeled, ...control }: StepTask): Promise<GradientReport> {
    const reports = await Promise.all(this.workers.map((worker, index) => {
      const [ownLabeled, ownUnlabeled] = [part(labeled, index, this.count), part(unlabeled, index, this.count)]
      const share = {
        step,
        firstLabeled: ownLabeled.start,
        firstUnlabeled: ownUnlabeled.start,
        labeled: ownLabeled.items,
        classes: part(classes, index, this.count).items,
        unlabeled: ownUnlabeled.items,
      }
      return worker.ask({ kind: 'gradients', task: { share, ...control } }) as Promise<GradientReport>
    }))
    const mean = (of: (report: GradientReport) => number) => reports.reduce((sum, report) => sum + of(report), 0) / reports.length
    return {
      reconstruction: mean(report => report.reconstruction),
      labeled: mean(report => report.labeled),
      unlabeled: mean(report => report.unlabeled),
      assigned: reports.flatMap(report => report.assigned),
      classMix: reports[0]?.classMix.map((_, index) => mean(report => report.classMix[index] ?? 0)) ?? [],
      sessionMs: Math.max(...reports.map(report => report.sessionMs)),
    }
  }

  async update(task: LaneUpdate): Promise<{ sessionMs: number }> {
    const reports = await Promise.all(this.workers.map(worker => worker.ask({ kind: 'update', task }) as Promise<{ sessionMs: number }>))
    return { sessionMs: Math.max(...reports.map(report => report.sessionMs)) }
  }

  /** Brings the shared vectors up to date before they are read here. */
  async publish(): Promise<void> {
    await Promise.all(this.workers.map(worker => worker.ask({ kind: 'publish' })))
  }

  /** Tells the lanes that the shared vectors were written here. */
  async load(): Promise<void> {
    await Promise.all(this.workers.map(worker => worker.ask({ kind: 'load' })))
  }

  /** The transformer's own class logits [ids, C], row-major. */
  async predict(task: PredictTask): Promise<Float32Array> {
    const parts = await Promise.all(this.workers.map((worker, index) =>
      worker.ask({ kind: 'predict', task: { ...task, ids: part(task.ids, index, this.count).items } }) as Promise<Float32Array>))
    const all = new Float32Array(parts.reduce((sum, rows) => sum + rows.length, 0))
    let offset = 0
    for (const rows of parts) {
      all.set(rows, offset)
      offset += rows.length
    }
    return all
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map(worker => worker.stop()))
    this.workers = []
  }
}

/** How many lanes a step is divided among: `wanted`, else one a core; on a device one. */
export function lanesOn(engine: Engine, preset: Preset, wanted: number | null): number {
  return sharesMemory(engine) ? evenLanes(preset, wanted ?? availableParallelism()) : 1
}

/** The `index`th of `count` contiguous parts, as equal as they can be. */
function part<T>(items: readonly T[], index: number, count: number): { start: number; items: readonly T[] } {
  const start = Math.floor((items.length * index) / count)
  return { start, items: items.slice(start, Math.floor((items.length * (index + 1)) / count)) }
}

class LaneWorker {
  readonly ready: Promise<unknown>
  private readonly worker: Worker
  private busy: Promise<unknown> | null = null
  /** Why the thread takes no more tasks. */
  private dead: Error | null = null
  private pending: { resolve: (value: unknown) => void; reject: (reason: Error) => void } | null = null

  constructor(setup: LaneSetup) {
    this.worker = startWorker(setup)
    this.worker.on('message', (answer: LaneAnswer) => {
      const pending = this.pending
      this.pending = null
      if (answer.ok) pending?.resolve(answer.result)
      else pending?.reject(answer.diverged ? new RangeError(answer.message) : new Error(answer.message))
    })
    this.worker.on('error', cause => { this.fail(cause instanceof Error ? cause : new Error(String(cause))) })
    this.worker.on('exit', code => { this.fail(new Error(`lane ${String(setup.index)} ended with code ${String(code)}`)) })
    this.ready = this.answer()
  }

  /** Errors: the lane's own, or that its thread has ended. */
  ask(task: LaneTask): Promise<unknown> {
    if (this.dead) return Promise.reject(this.dead)
    this.worker.postMessage(task)
    return this.answer()
  }

  /** Lets a task that is under way end, where another lane's failure ended the step. */
  async stop(): Promise<void> {
    await this.busy?.catch(() => undefined)
    await this.ask({ kind: 'release' }).catch(() => undefined)
    await this.worker.terminate()
  }

  private answer(): Promise<unknown> {
    this.busy = new Promise((resolve, reject) => { this.pending = { resolve, reject } })
    return this.busy
  }

  private fail(error: Error): void {
    this.dead ??= error
    this.pending?.reject(error)
    this.pending = null
  }
}

/** Sources (tests, development) need the TypeScript loader in each thread. */
function startWorker(workerData: LaneSetup): Worker {
  const built = new URL('./worker.js', import.meta.url)
  if (existsSync(fileURLToPath(built))) return new Worker(built, { workerData })
  const source = JSON.stringify(new URL('./worker.ts', import.meta.url).href)
  return new Worker(`import('tsx/esm/api').then(({ register }) => { register(); return import(${source}) })`, { workerData, eval: true })
}
