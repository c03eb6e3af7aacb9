/** What is done when somebody asks: a row of report/commands.ts each. */
import { PawlError } from './errors.js'
import type { ModelVersion } from './events.js'
import type { CommandHandlers, Reply } from './report/commands.js'
import type { Serving } from './serving.js'
import type { Training } from './training.js'

export interface HandlersOptions {
  training: Training
  serving: Serving
  status: () => Reply<'status'>
  /** Reads the configuration anew; absent: there is none to read. Errors: CONFIG_INVALID. */
  reload: (() => Promise<void>) | undefined
}

/** `way`: how people ask, as the history of the models tells it. */
export function handlersOf({ training, serving, status, reload }: HandlersOptions, way: 'at the box' | 'on the page' | 'over MQTT'): CommandHandlers {
  const why = `a person asked for it ${way}`
  return {
    train: async () => {
      const refusal = await training.begin()
      if (refusal !== null) throw new PawlError('COMMAND_INVALID', `${refusal}; nothing was started`)
      return { started: true }
    },
    status,
    promote: async ({ version }) => served(await serving.put(version, why)),
    rollback: async () => served(await serving.rollback(why)),
    pin: async ({ version }) => ({ mode: await serving.pin(version ?? null, why) }),
    follow: async () => ({ mode: await serving.setMode({ kind: 'follow' }, why) }),
    pause: async () => ({ mode: await serving.setMode({ kind: 'pause' }, why) }),
    reload: async () => {
      if (!reload) throw new PawlError('COMMAND_INVALID', 'this agent has no configuration to read anew')
      await reload()
      return { reloading: true }
    },
  }
}

function served({ version }: ModelVersion): { model: number } {
  return { model: version }
}
