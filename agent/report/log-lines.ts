/** Tells a log collector what happens: each event a JSON object of one line, with its level, beside what the parts of the agent log. */
import type { AgentEvent } from '../events.js'
import type { Logger } from '../lib/logger.js'

type Level = 'debug' | 'info' | 'warn' | 'error'

export class LogLines {
  private readonly logger: Logger

  constructor(logger: Logger) {
    this.logger = logger
  }

  say(text: string, style?: string): void {
    this.logger[style === 'red' ? 'error' : style === 'yellow' ? 'warn' : 'info'](text)
  }

  accept(event: AgentEvent): void {
    // It is logged where it is found.
    if (event.type === 'problem') return
    this.logger[levelOf(event)]({ event }, event.type)
  }

  stop(): void {
    // Every line is out.
  }
}

/** What comes every second is for who looks for it. */
function levelOf(event: AgentEvent): Level {
  switch (event.type) {
    case 'prediction':
    case 'frame-stored': return 'debug'
    case 'round-event': return event.event.type === 'progress' || event.event.type === 'gate' ? 'debug' : 'info'
    case 'camera': return event.status.state === 'offline' || event.status.reason !== null ? 'warn' : 'info'
    case 'broker': return event.state === 'disconnected' ? 'warn' : 'info'
    case 'collection': return event.state === 'stopped' ? 'warn' : 'info'
    case 'drift': return event.state === 'alarm' ? 'warn' : 'info'
    case 'probation': return event.record.state === 'failed' ? 'warn' : 'info'
    case 'quarantine':
    case 'round-refused-to-start': return 'warn'
    case 'round-started':
    case 'round-ended':
    case 'model-active':
    case 'offer':
    case 'mode': return 'info'
    case 'problem': return 'warn'
  }
}
