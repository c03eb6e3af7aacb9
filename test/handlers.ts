import { commands, type CommandHandlers } from '../agent/report/commands.js'

/** Every command does nothing, but for those given. */
export function handlers(own: Partial<CommandHandlers> = {}): CommandHandlers {
  return { ...Object.fromEntries(Object.keys(commands).map(verb => [verb, () => null])) as unknown as CommandHandlers, ...own }
}
