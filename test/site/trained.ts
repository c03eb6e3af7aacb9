/** A model in service without the round that makes it: the one that the newest of `releases/` kept. */
import { execFile } from 'node:child_process'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openFolder } from '../../agent/data/folder.js'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'

const releases = join(import.meta.dirname, '..', 'releases')
/** What the box of the release saw, and what it had not yet told. */
const ofItsOwn = ['drift', 'frames', 'labels', 'outbox', 'report', 'validation']

/** Makes an empty data folder that of a box whose model 1 serves, and which goes on learning: `classes` are its classes. */
export async function giveModel(data: string): Promise<void> {
  const versions = (await readdir(releases)).flatMap(name => /^(.*)\.tar\.xz$/.exec(name)?.[1] ?? [])
  const newest = versions.toSorted(new Intl.Collator('en', { numeric: true }).compare).at(-1) ?? ''
  const excluded = ofItsOwn.map(name => `--exclude=${newest}/data/${name}`)
  await mkdir(data, { recursive: true })
  await promisify(execFile)('tar', ['-C', data, '--strip-components=2', ...excluded, '-xJf', join(releases, `${newest}.tar.xz`), `${newest}/data`])
  const close = await openFolder(data, () => undefined)
  const registry = new Registry({ data, clock: systemClock, onProblem: problem => { throw problem } })
  await registry.start()
  await registry.setMode({ kind: 'follow' }, { why: 'a test begins' })
  await registry.stop()
  await close()
}
