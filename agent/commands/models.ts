import { join } from 'node:path'
import type { Config } from '../config.js'
import { ask } from '../control.js'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import { accuracyOf } from '../figures.js'
import { publicKeyIn } from '../registry/identity.js'
import type { Registry } from '../registry/registry.js'
import type { Mode } from '../registry/state.js'
import { changeRegistry, configOf, readRegistry } from './data.js'
import { percent, print, table, type OutputOptions } from './output.js'

type Options = OutputOptions & { config?: string | undefined }

export async function list(options: Options): Promise<void> {
  const config = await configOf(options)
  const registry = await readRegistry(config)
  const all = registry.list()
  print(options, { models: all.map(summary), mode: registry.mode }, all.length ? [...table(
    ['version', 'status', 'accuracy', 'reason', 'created'],
    all.map(model => [model.version, model.status, percent(accuracyOf(model)), model.decision.reason, model.card.createdAt]),
  ), ...modeLines(registry.mode)] : [`no models yet in ${config.data}`])
}

export async function show(version: number, options: Options): Promise<void> {
  const model = (await readRegistry(await configOf(options))).find(version)
  print(options, model, JSON.stringify(model, null, 2).split('\n'))
}

export async function history(options: Options): Promise<void> {
  const entries = await (await readRegistry(await configOf(options))).history()
  if (entries === null) throw new PawlError('REGISTRY_CORRUPT', 'the history is damaged, or not that of these models: `pawl models verify` says where')
  const told = entries.map(({ atMs, change, version, why: reason }) => ({ at: new Date(atMs).toISOString(), change, version, why: reason }))
  print(options, { history: told }, told.length ? table(['when', 'what', 'model', 'why'], told.map(entry => [entry.at, entry.change, String(entry.version ?? ''), entry.why])) : ['nothing has happened yet'])
}

export async function verify(options: Options): Promise<void> {
  const registry = await readRegistry(await configOf(options))
  const results = await registry.verify()
  const lineage = await registry.verifyLineage()
  print(options, { models: results, lineage }, [
    ...results.map(result => `model ${String(result.version)}: ${result.problem ?? 'ok'}`),
    `history: ${lineage.problem ?? `ok, ${String(lineage.entries)} signed entries`}`,
  ])
  if ([...results, lineage].some(({ ok }) => !ok)) process.exitCode = 1
}

export async function key(options: Options): Promise<void> {
  const { data, device } = await configOf(options)
  const folder = join(data, 'identity')
  const found = await publicKeyIn(folder).catch((cause: unknown) => {
    throw new PawlError('REGISTRY_CORRUPT', `${folder}: the key cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { cause })
  })
  if (!found) throw new PawlError('MODEL_INVALID', `${data} has no key yet: the first start of the daemon makes it`)
  const file = `${device}.public.pem`
  print(options, { device, file, fingerprint: found.fingerprint, publicKey: found.pem }, found.pem.trimEnd().split('\n'))
  if (!options.json) process.stderr.write(`fingerprint ${found.fingerprint}; as ${file} in exchange.trust of another box\n`)
}

/** Why, in the history. */
const why = 'a person asked for it at the box'

/** What is done to the registry while no agent runs; one that runs is asked. */
const changes = {
  promote: (registry: Registry, version: number | null) => registry.promote(version ?? 0, { why }),
  rollback: (registry: Registry) => registry.rollback({ why }),
  pin: async (registry: Registry, version: number | null) => {
    const wanted = version ?? registry.active()?.version
    if (wanted === undefined) throw new PawlError('MODEL_INVALID', 'no model serves yet that could be pinned')
    if (wanted !== registry.active()?.version) await registry.promote(wanted, { why })
    await registry.setMode({ kind: 'pin', version: wanted }, { why })
  },
  follow: (registry: Registry) => registry.setMode({ kind: 'follow' }, { why }),
  pause: (registry: Registry) => registry.setMode({ kind: 'pause' }, { why }),
} satisfies Record<string, (registry: Registry, version: number | null) => Promise<unknown>>

export type Change = keyof typeof changes

/** Takes effect at once where an agent runs on the data folder, else at its next start. */
export async function change(verb: Change, version: number | null, options: Options): Promise<void> {
  const config = await configOf(options)
  const live = await changeLive(config, verb, version)
  if (!live) await changeRegistry<unknown>(config, registry => changes[verb](registry, version))
  const registry = await readRegistry(config)
  const model = registry.active()
  print(options, { ...model && summary(model), mode: registry.mode, live }, [
    model ? `model ${String(model.version)} ${live ? 'serves' : 'serves from the next start of the daemon'}` : 'no model serves yet',
    ...modeLines(registry.mode),
  ])
}

/** Whether an agent runs, which then has done it. Errors: what it answers. */
async function changeLive({ data }: Config, verb: Change, version: number | null): Promise<boolean> {
  switch (verb) {
    case 'promote': return await ask(data, verb, { version: version ?? 0 }) !== null
    case 'pin': return await ask(data, verb, version === null ? {} : { version }) !== null
    case 'rollback':
    case 'follow':
    case 'pause': return await ask(data, verb, {}) !== null
  }
}

function modeLines(mode: Mode): string[] {
  switch (mode.kind) {
    case 'follow': return []
    case 'pin': return [`model ${String(mode.version)} is pinned: it serves, whatever passes the gate; \`pawl models follow\` ends that`]
    case 'pause': return ['learning is paused: no round begins; `pawl models follow` ends that']
  }
}

function summary({ version, status, card, decision }: ModelVersion) {
  return {
    version, status, accuracy: accuracyOf({ card, decision }), method: card.method, preset: card.preset, classes: card.classes,
    createdAt: card.createdAt, promoted: decision.promoted, reason: decision.reason,
  }
}
