/** A model in service without the round that makes it: the one that `releases/make.ts` kept. */
import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { packageVersion } from '../../agent/lib/package-root.js'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'

/** What the box of the release saw, and what it had not yet told. */
const ofItsOwn = ['drift', 'frames', 'labels', 'outbox', 'report', 'validation']

/** Makes an empty data folder that of a box whose model 1 serves, and which goes on learning: `classes` are its classes. */
export async function giveModel(data: string): Promise<void> {
  const archive = join(import.meta.dirname, '..', 'releases', `${packageVersion()}.tar.xz`)
  await mkdir(data, { recursive: true })
  await promisify(execFile)('tar', ['-C', data, '--strip-components=2', ...ofItsOwn.map(name => `--exclude=*/data/${name}`), '-xJf', archive, `${packageVersion()}/data`])
  const registry = new Registry({ data, clock: systemClock, onProblem: problem => { throw problem } })
  await registry.start()
  await registry.setMode({ kind: 'follow' }, { why: 'a test begins' })
  await registry.stop()
}
