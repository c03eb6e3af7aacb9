import type { AgentEvent } from '../events.js'
import type { ReportedEvent } from './topics.js'

/** An event of the agent as the topic `event` tells it; null for what has a topic of its own. */
export function reportedEvent(event: AgentEvent, head: { id: string; atMs: number }): ReportedEvent | null {
  switch (event.type) {
    case 'model-active':
      return { ...head, type: event.type, version: event.model.version, loadedInMs: event.loadedInMs }
    case 'drift':
      return event.state === 'alarm' || event.state === 'over' ? { ...head, ...event } : null
    case 'round-started':
    case 'round-ended':
    case 'round-refused-to-start':
    case 'probation':
    case 'mode':
    case 'quarantine':
    case 'collection':
    case 'problem':
      return { ...head, ...event }
    case 'camera':
    case 'frame-stored':
    case 'prediction':
    case 'round-event':
    case 'broker':
    case 'offer':
      return null
  }
}
