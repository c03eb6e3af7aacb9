/**
 * What the page shows as it happens: the values that this box retains at its broker, by the same topics and in the same shapes, and beside them
 * why frames are kept. Who connects hears the newest value of each, then each new one; who reads slowly hears fewer, never older ones.
 */
import type { StateChange } from '../report/state.js'
import { ofCamera, topics } from '../report/topics.js'

export interface LiveMessage {
  /** As in MQTT, below `<base>/<device>/`; `camera/{camera}/kept`: the newest frame that was stored. */
  topic: string
  value: unknown
}

export class Live {
  private readonly newest = new Map<string, LiveMessage>()
  private readonly listeners = new Set<(message: LiveMessage) => void>()

  state({ name, camera, value }: StateChange): void {
    this.tell({ topic: ofCamera(topics[name].topic, camera), value })
  }

  tell(message: LiveMessage): void {
    this.newest.set(message.topic, message)
    for (const listener of this.listeners) listener(message)
  }

  /** The newest values, then new ones as they come; of those that come faster than they are taken, the newest of each topic. */
  async* follow(signal: AbortSignal): AsyncGenerator<LiveMessage> {
    const waiting = new Map(this.newest)
    let wake = () => { /* nobody waits yet */ }
    const listener = (message: LiveMessage) => {
      // Last in line, as it is the newest.
      waiting.delete(message.topic)
      waiting.set(message.topic, message)
      wake()
    }
    const end = () => { wake() }
    this.listeners.add(listener)
    signal.addEventListener('abort', end)
    try {
      while (!signal.aborted) {
        const [first] = waiting
        if (first) {
          waiting.delete(first[0])
          yield first[1]
        } else await new Promise<void>(resolve => { wake = resolve })
      }
    } finally {
      this.listeners.delete(listener)
      signal.removeEventListener('abort', end)
    }
  }
}
