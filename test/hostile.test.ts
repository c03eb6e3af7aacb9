/** The quick part of the suite of hostile input (`npm run hostile` is the long one): test/README.md says what it proves. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lacks } from './chaos/box.js'
import { hostile } from './hostile/hostile.js'

describe.skipIf(lacks !== '')(`a box to which anything is sent${lacks}`, () => {
  let folder = ''
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-hostile-')) })
  afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

  it('goes on as before, touches nothing around it, and tells no secret', async () => {
    const { problems, thrown } = await hostile({ minutes: 0, seed: 1, folder, say: () => undefined })
    expect(problems).toEqual([])
    expect(Object.keys(thrown).sort()).toEqual(['answers of cameras', 'configurations', 'labels', 'models', 'pawl eval', 'pictures', 'requests'])
  }, 300_000)
})
