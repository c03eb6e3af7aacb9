/** Which models there are, by what the registry remembers, and which of them need not be kept. Pure. */
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import type { RegistryState, VersionRecord } from './state.js'

/** Oldest first. */
export function modelsOf({ versions, active, served }: Readonly<RegistryState>): ModelVersion[] {
  return versions.map(record => ({
    ...record,
    status: record.version === active ? 'champion' : served.includes(record.version) ? 'former' : 'refused',
  }))
}

/** Errors: MODEL_INVALID, naming those there are. */
export function findModel(state: Readonly<RegistryState>, version: number): ModelVersion {
  const models = modelsOf(state)
  const found = models.find(model => model.version === version)
  if (found) return found
  const known = models.map(model => String(model.version)).join(', ') || 'none'
  throw new PawlError('MODEL_INVALID', `model ${String(version)} is not in the registry; known: ${known}`)
}

/** The model in service that may still fall back, and what it would fall back to; null: it may not. */
export function onProbation(state: Readonly<RegistryState>): { model: ModelVersion; former: ModelVersion } | null {
  const { probation } = state
  if (!probation) return null
  const [model, former] = [probation.version, probation.former].map(wanted => modelsOf(state).find(({ version }) => version === wanted))
  return model?.status === 'champion' && former ? { model, former } : null
}

/** The oldest models beyond `keep` of them; never the one in service, nor the one before it, nor the newest. */
export function beyond({ versions, served }: Readonly<RegistryState>, keep: number): VersionRecord[] {
  const needed = new Set([...served.slice(-2), versions.at(-1)?.version])
  const others = versions.filter(({ version }) => !needed.has(version))
  return others.slice(0, Math.max(0, others.length - keep))
}
