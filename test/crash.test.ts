/** The quick part of the crash suite (`npm run crash` is the whole): test/README.md says what it proves. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { crash } from './crash/crash.js'
import { faults } from './crash/faults.js'
import { grow, type Grown } from './crash/grown.js'
import { injected } from './crash/inject.js'
import { mosquitto } from './site/mosquitto.js'

const lacks = mosquitto === '' ? ' (skipped: mosquitto missing)' : ''

describe.skipIf(lacks !== '')(`a box whose power is cut${lacks}`, () => {
  let folder = ''
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-crash-')) })
  afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

  it('has lost no label, no model and no event afterwards, whatever it was doing', async () => {
    const said: string[] = []
    const { problems, kills, decisions } = await crash({ kills: 3, seed: 20, folder, say: line => said.push(line) })
    expect(problems, said.join('\n')).toEqual([])
    expect(Object.values(kills).reduce((sum, count) => sum + count, 0)).toBe(3)
    expect(decisions).toBeGreaterThan(0)
  }, 600_000)
})

describe.skipIf(lacks !== '')(`a box whose files were damaged${lacks}`, () => {
  let folder = ''
  let grown: Grown
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-faults-'))
    await chmod(folder, 0o755)
    grown = await grow(folder)
  }, 300_000)
  afterAll(async () => {
    await grown.box.close()
    await rm(folder, { recursive: true, force: true })
  })

  it('goes on where the registry and all its backups are zeros, or says what to do', async () => {
    expect(await injected(grown, faults['the registry and all its backups are zeros'])).toEqual([])
  })
})
