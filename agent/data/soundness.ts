/** What is wrong with a data folder, or with what a backup holds of it, that an agent would nevertheless start with. */
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { systemClock } from '../lib/clock.js'
import { Registry } from '../registry/registry.js'

/** Of `state.json`: the files of its models. */
const State = z.object({
  data: z.object({
    versions: z.array(z.object({ version: z.number(), folder: z.string(), card: z.object({ files: z.record(z.string(), z.string()) }) })),
  }),
})

export interface ModelProblem {
  what: string
  /** Whether the file is not there. */
  missing: boolean
}

/** By the SHA-256 of the files that there are, by path. Errors: REGISTRY_CORRUPT, naming the state's `path`, where it is none. */
export function modelProblems(path: string, state: Buffer, files: Readonly<Record<string, string>>): ModelProblem[] {
  return versionsOf(path, state).flatMap(({ version, folder, card }) => Object.entries(card.files).flatMap(([name, hash]) => {
    const found = files[`models/${folder}/${name}`]
    if (found === hash) return []
    return [{ what: `model ${String(version)}: ${name} ${found === undefined ? 'is missing' : 'is not what its card says'}`, missing: found === undefined }]
  }))
}

/** Paths of the folders of the models that a state names. Errors: those of `modelProblems`. */
export function modelFolders(path: string, state: Buffer): Set<string> {
  return new Set(versionsOf(path, state).map(({ folder }) => `models/${folder}`))
}

function versionsOf(path: string, state: Buffer) {
  try {
    return State.parse(JSON.parse(state.toString('utf8'))).data.versions
  } catch (cause) {
    throw new PawlError('REGISTRY_CORRUPT', `${path} holds no state of a registry; start the agent once, which puts one of its backups in its place`, { cause })
  }
}

/** Of registry and history. Errors: REGISTRY_CORRUPT for a registry that no agent would start with. */
export async function problemsOf(data: string): Promise<string[]> {
  const problems: string[] = []
  const registry = new Registry({ data, clock: systemClock, onProblem: ({ message }) => { problems.push(message) } })
  await registry.read()
  const { problem } = await registry.verifyLineage()
  return problem === null ? problems : [...problems, problem]
}
