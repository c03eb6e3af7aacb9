import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import { changeRegistry, configOf, readRegistry } from './data.js'
import { percent, print, table, type OutputOptions } from './output.js'

type Verb = 'list' | 'show' | 'verify' | 'promote' | 'rollback' | 'pin' | 'follow' | 'pause'

/** Why a model serves that a command put in service. */
const why = 'a person asked for it at the command line'

export async function models(verb: Verb, version: number | null, options: OutputOptions & { config?: string | undefined }): Promise<void> {
  const config = await configOf(options)
  switch (verb) {
    case 'list': {
      const all = (await readRegistry(config)).list()
      print(options, { models: all.map(summary) }, all.length ? table(
        ['version', 'status', 'accuracy', 'reason', 'created'],
        all.map(model => [model.version, model.status, percent(model.card.validation.accuracy), model.decision.reason, model.card.createdAt]),
      ) : [`no models yet in ${config.data}`])
      return
    }
    case 'show': {
      const model = (await readRegistry(config)).list().find(other => other.version === version)
      if (!model) throw new PawlError('MODEL_INVALID', `model ${String(version)} is not in the registry; see \`pawl models list\``)
      print(options, model, [JSON.stringify(model, null, 2)])
      return
    }
    case 'verify': {
      const registry = await readRegistry(config)
      const results = await registry.verify()
      const lineage = await registry.verifyLineage()
      print(options, { models: results, lineage }, [
        ...results.map(result => `model ${String(result.version)}: ${result.problem ?? 'ok'}`),
        `history: ${lineage.problem ?? `ok, ${String(lineage.entries)} signed entries`}`,
      ])
      if ([...results, lineage].some(({ ok }) => !ok)) process.exitCode = 1
      return
    }
    case 'promote': {
      const model = await changeRegistry(config, registry => registry.promote(version ?? 0, { why }))
      print(options, summary(model), [`model ${String(model.version)} is in service from the next start of the daemon`])
      return
    }
    case 'rollback': {
      const model = await changeRegistry(config, registry => registry.rollback({ why }))
      print(options, summary(model), [`model ${String(model.version)} is back in service from the next start of the daemon`])
      return
    }
    case 'pin':
    case 'follow':
    case 'pause': {
      const mode = await changeRegistry(config, async registry => {
        await registry.setMode(verb === 'pin' ? { kind: verb, version: version ?? 0 } : { kind: verb })
        return registry.mode
      })
      print(options, { mode }, [`mode: ${verb}`])
    }
  }
}

function summary({ version, status, card, decision }: ModelVersion) {
  return {
    version, status, accuracy: card.validation.accuracy, method: card.method, preset: card.preset, classes: card.classes,
    createdAt: card.createdAt, promoted: decision.promoted, reason: decision.reason,
  }
}
