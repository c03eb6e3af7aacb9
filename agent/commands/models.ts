import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import { changeRegistry, configOf, readRegistry } from './data.js'
import { percent, print, table, type OutputOptions } from './output.js'

type Verb = 'list' | 'show' | 'verify' | 'promote' | 'rollback'

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
      const results = await (await readRegistry(config)).verify()
      print(options, { models: results }, results.map(result => `model ${String(result.version)}: ${result.problem ?? 'ok'}`))
      if (results.some(({ ok }) => !ok)) process.exitCode = 1
      return
    }
    case 'promote': {
      const model = await changeRegistry(config, registry => registry.promote(version ?? 0))
      print(options, summary(model), [`model ${String(model.version)} is in service from the next start of the daemon`])
      return
    }
    case 'rollback': {
      const model = await changeRegistry(config, registry => registry.rollback())
      print(options, summary(model), [`model ${String(model.version)} is back in service from the next start of the daemon`])
    }
  }
}

function summary({ version, status, card, decision }: ModelVersion) {
  return {
    version, status, accuracy: card.validation.accuracy, method: card.method, preset: card.preset, classes: card.classes,
    createdAt: card.createdAt, promoted: decision.promoted, reason: decision.reason,
  }
}
