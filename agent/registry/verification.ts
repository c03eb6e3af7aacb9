/** What a check of the models gives, and whether the history and the registry say the same. Pure. */
import { hashOfJson, headOf, inEffect, type ReadLineage } from './lineage.js'
import type { RegistryState } from './state.js'

/** Of a model's files with its card. */
export interface Verification {
  version: number
  ok: boolean
  /** What differs; null when nothing does. */
  problem: string | null
}

export interface LineageVerification {
  ok: boolean
  /** Good ones. */
  entries: number
  problem: string | null
}

export function verifyLineage({ entries, problem }: ReadLineage, state: RegistryState): LineageVerification {
  const found = problem ?? objectionTo(entries, state)
  return { ok: found === null, entries: entries.length, problem: found && `lineage.jsonl: ${found}` }
}

function objectionTo(entries: ReadLineage['entries'], { lineage: head, versions, active }: RegistryState): string | null {
  // What was written and not pointed to did not take effect: a power cut came between, or a running agent is about to.
  const place = head === null ? 0 : entries.findIndex(signed => headOf(signed).hash === head.hash) + 1
  if (head !== null && place === 0) return `it does not lead to entry ${String(head.sequence)}, where the registry stands`
  const [first] = entries
  if (first && place > 0 && first.entry.sequence !== 1) return `it begins with entry ${String(first.entry.sequence)}; what was before is missing`
  const held = inEffect(entries.slice(0, place))
  for (const { version, card, decision } of versions) {
    const own = held.filter(entry => entry.version === version)
    const registered = own.find(({ change }) => change === 'registered')
    // Registered by a version that kept no history.
    if (!registered) continue
    if (registered.card !== hashOfJson(card) || registered.model !== card.files['model.onnx']) return `the card of model ${String(version)} is not the one that was registered`
    const decided = own.findLast(entry => entry.decision !== null)
    if (decided?.decision !== hashOfJson(decision)) return `the decision on model ${String(version)} is not the one that was taken`
  }
  const serving = held.findLast(({ change }) => ['promoted', 'rolled-back', 'retired'].includes(change))
  return serving && serving.version !== active ? `it has model ${String(serving.version)} in service, the registry ${String(active)}` : null
}
