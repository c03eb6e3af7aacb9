/**
 * What must hold of a box whatever happened to it. It is looked at from outside, while the box is down: what was there before must be there still.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'
import type { Box } from '../site/box.js'

const main = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'main.js')

/** What there may be in a data folder while nothing is being written; everything else is left over. */
const known: readonly RegExp[] = [
  /^(\.holder|\.control|format)$/, /^state\.json(\.\d+)?$/, /^lineage\.jsonl(\.\d+)?$/, /^identity\/(private|[0-9a-f]{16}\.public)\.pem(\.\d+)?$/,
  /^(engines|exchange|probation|skipped)\.json$/, /^report\/[a-z-]+\.json$/,
  /^frames\/belt\/\d{4}-\d\d-\d\d\/\d+-[0-9a-f]{12}-[a-z]+-\d+\.jpg$/,
  /^(labels|validation)\/[^/]+\/[^/]+\.png$/,
  /^quarantine\/[^/]+\/[^/]+\.png(\.reason\.txt)?$/,
  /^models\/\d+-[0-9a-f]{8}\/(model\.onnx|weights\.safetensors|card\.json|reconstruction\.png)$/,
  /^rounds\/\d+\/(round\.json|checkpoint\.safetensors(\.new)?|model\.onnx|weights\.safetensors|card\.json|reconstruction\.png)$/,
  /^records\/\d+\/(record\.json|reconstruction\.png|mistake-\d+\.jpg)$/,
  /^outbox\/\d{12}\.json$/,
  /^exchange\/[0-9a-f]{64}\/(card|card\.json|weights\.safetensors)$/,
  /^drift\/(reference|alarm)\.json$/,
]

export class Truth {
  readonly problems: string[] = []
  /** Rounds that the registry knows a decision on. */
  readonly decided = new Set<number>()
  /** Versions that were told to be in service. */
  readonly served = new Set<number>()
  private readonly box: Box
  /** SHA-256 of every label by its path below the data folder. */
  private readonly labels = new Map<string, string>()
  /** SHA-256 of the model of every version. */
  private readonly versions = new Map<number, string>()
  /** Ids of events that were on disk. */
  private readonly waiting = new Set<string>()
  private newestServed = 0

  constructor(box: Box) {
    this.box = box
  }

  get hasLabels(): boolean {
    return this.labels.size > 0
  }

  /** While it is down. Gives the version that the next start is to put in service; null: none. */
  async look(): Promise<number | null> {
    await this.lookAtLabels()
    await this.lookAtOutbox()
    const registry = new Registry({
      data: this.box.data, clock: systemClock,
      onProblem: error => { this.problems.push(`the registry is not what it was: ${error.message}`) },
    })
    await registry.read()
    const models = registry.list()
    for (const { version, card } of models) {
      const sha256 = card.files['model.onnx']
      const former = this.versions.get(version) ?? sha256
      if (former !== sha256) this.problems.push(`version ${String(version)} stands for two models`)
      this.versions.set(version, sha256)
    }
    const history = await registry.verifyLineage()
    if (!history.ok) this.problems.push(history.problem ?? 'the history does not hold')
    for (const { version, ok, problem } of await registry.verify()) if (!ok) this.problems.push(`model ${String(version)}: ${problem ?? ''}`)
    const decisions = new Set(registry.decisions().map(({ round }) => round))
    for (const round of this.decided) if (!decisions.has(round)) this.problems.push(`the decision on round ${String(round)} is gone`)
    for (const round of decisions) this.decided.add(round)
    const active = registry.active()
    if ((active?.version ?? 0) < this.newestServed) {
      this.problems.push(`model ${String(this.newestServed)} was in service, now it is ${String(active?.version ?? 'none')}`)
    }
    if (active && !active.decision.promoted) this.problems.push(`model ${String(active.version)} is in service and was never promoted`)
    return registry.unserved()?.version ?? active?.version ?? null
  }

  /** As a person would ask. */
  async verify(): Promise<void> {
    const { stdout } = await promisify(execFile)(process.execPath, [main, 'models', 'verify', '--config', this.box.config, '--json'])
      .catch((cause: unknown) => ({ stdout: `{"models":[],"lineage":{"ok":false,"problem":${JSON.stringify(String(cause))}}}` }))
    const { models, lineage } = JSON.parse(stdout) as Record<'models', { ok: boolean; problem: string | null }[]> & Record<'lineage', { ok: boolean; problem: string | null }>
    for (const { ok, problem } of [...models, lineage]) if (!ok) this.problems.push(`pawl models verify: ${problem ?? ''}`)
  }

  /** A model was told to be in service. */
  serves(version: number): void {
    if (version < this.newestServed) this.problems.push(`model ${String(version)} serves after model ${String(this.newestServed)}`)
    this.newestServed = version
    this.served.add(version)
  }

  async labeled(path: string): Promise<void> {
    this.labels.set(path, await hashOf(join(this.box.data, path)))
  }

  /** While it runs: what a former run left behind. */
  async leftovers(startedAtMs: number): Promise<string[]> {
    const found: string[] = []
    for (const path of await filesBelow(this.box.data)) {
      const own = relative(this.box.data, path)
      if (known.some(pattern => pattern.test(own))) continue
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }))
      // What is being written now is another matter.
      if (mtimeMs < startedAtMs) found.push(own)
    }
    const rounds = await readdir(join(this.box.data, 'rounds'))
    if (rounds.length > 2) found.push(`rounds: ${rounds.join(', ')}`)
    return found
  }

  /** Events that are due and have not arrived. */
  missing(): string[] {
    const { onlooker } = this.box
    const told = new Map<number, Set<string>>()
    for (const { id, round, decision } of onlooker.ofType('round-ended')) {
      if (decision.reason !== 'stopped') told.set(round, (told.get(round) ?? new Set()).add(id))
    }
    return [
      ...[...this.decided].filter(round => !told.has(round)).map(round => `the end of round ${String(round)} was never told`),
      ...[...told].filter(([, ids]) => ids.size > 1).map(([round]) => `the end of round ${String(round)} was told as two events`),
      ...[...this.waiting].filter(id => !onlooker.events.has(id)).map(id => `event ${id} waited on disk and never arrived`),
      ...onlooker.wrong,
    ]
  }

  /** The labels that are there, whatever they are. */
  async take(): Promise<void> {
    for (const part of ['labels', 'validation']) {
      for (const path of await filesBelow(join(this.box.data, part))) await this.labeled(relative(this.box.data, path))
    }
  }

  async lookAtLabels(): Promise<void> {
    const { data } = this.box
    for (const part of ['labels', 'validation'] as const) {
      const there = await filesBelow(join(data, part))
      if (there.length === 0) continue
      // Imported as a whole or not at all.
      for (const path of await filesBelow(this.box.source(part))) {
        const own = join(part, relative(this.box.source(part), path))
        if (!this.labels.has(own)) this.labels.set(own, await hashOf(path))
      }
    }
    for (const [path, hash] of this.labels) {
      const places = [path, join('quarantine', basename(dirname(path)), basename(path))]
      const hashes = await Promise.all(places.map(place => hashOf(join(data, place))))
      if (!hashes.includes(hash)) this.problems.push(`the label ${path} is lost`)
    }
  }

  private async lookAtOutbox(): Promise<void> {
    const folder = join(this.box.data, 'outbox')
    for (const path of await filesBelow(folder)) {
      if (!/\d{12}\.json$/.test(path)) continue
      const { id } = JSON.parse(await readFile(path, 'utf8')) as { id: string }
      this.waiting.add(id)
    }
  }
}

/** "": there is no such file. */
async function hashOf(path: string): Promise<string> {
  return readFile(path).then(bytes => createHash('sha256').update(bytes).digest('hex'), () => '')
}

export async function filesBelow(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter(entry => !entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name))
}
