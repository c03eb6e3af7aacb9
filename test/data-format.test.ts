import { appendFile, mkdtemp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { bringUpToDate, checkFormat, type Step } from '../agent/data/format.js'
import { isMissing } from '../agent/lib/durable.js'

let folder: string
beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-format-')) })
afterEach(async () => { await rm(folder, { recursive: true, force: true }) })

const silent = () => undefined
const fileOf = (name: string) => readFile(join(folder, name), 'utf8')

describe('the format of a data folder', () => {
  it('is written where there is none; what a step changes is told of a folder that has a registry, not of a new one', async () => {
    const told: string[] = []
    const onStep = (what: string) => { told.push(what) }
    await writeFile(join(folder, 'labels'), 'of a person, before the first start')
    await bringUpToDate(folder, { onStep })
    expect([await fileOf('format'), told]).toEqual(['2\n', []])
    await checkFormat(folder)
    for (const registry of ['state.json', 'state.json.1']) {
      await rm(join(folder, 'format'))
      await writeFile(join(folder, registry), '{}')
      await bringUpToDate(folder, { onStep })
      expect([await fileOf('format'), told.splice(0)]).toEqual(['2\n', [`${folder}: its history may tell of models that were published; it is of format 2 now`]])
      await rm(join(folder, registry))
    }
  })

  it('of a newer version is refused by whoever writes and whoever reads, and left as it is', async () => {
    await writeFile(join(folder, 'format'), '7\n')
    for (const look of [() => bringUpToDate(folder, { onStep: silent }), () => checkFormat(folder)]) {
      await expect(look()).rejects.toMatchObject({ code: 'DATA_FORMAT', message: expect.stringMatching(/is of format 7, and this version knows none after 2; nothing was changed; run the newer version/) as string })
    }
    expect([await readdir(folder), await fileOf('format')]).toEqual([['format'], '7\n'])
  })

  it('that is no number is refused, with what to do', async () => {
    for (const text of ['', 'two', '0', '-1', '1.5', '1\n1', '\0']) {
      await writeFile(join(folder, 'format'), text)
      await expect(checkFormat(folder)).rejects.toMatchObject({ code: 'DATA_FORMAT', message: expect.stringContaining('put 2 in it if this version wrote the folder last') as string })
    }
    await rm(join(folder, 'format'))
    await mkdir(join(folder, 'format'))
    await expect(checkFormat(folder)).rejects.toMatchObject({ code: 'DATA_FORMAT', message: expect.stringContaining('cannot be read') as string })
  })

  it('of an older version is brought up to date step by step, from wherever the power went', async () => {
    await fc.assert(fc.asyncProperty(fc.constantFrom(null, 1, 2, 3), fc.array(fc.nat(3), { maxLength: 4 }), async (from, cuts) => {
      await rm(folder, { recursive: true, force: true })
      await mkdir(folder)
      await writeFile(join(folder, ['', 'one', 'two', 'three'][from ?? 1] ?? ''), 'what there was')
      await writeFile(join(folder, 'state.json'), '{}')
      if (from !== null) await writeFile(join(folder, 'format'), `${String(from)}\n`)
      const told: string[] = []
      for (const cut of [...cuts, Infinity]) {
        let left = cut
        const power = () => { if (left-- <= 0) throw new Error('the power went') }
        await bringUpToDate(folder, { steps: steps(power), onStep: what => { told.push(what) } }).catch((cause: unknown) => { expect(String(cause)).toContain('the power went') })
      }
      expect((await readdir(folder)).sort()).toEqual(['format', 'state.json', 'three'])
      expect([await fileOf('three'), await fileOf('format')]).toEqual(['what there was', '3\n'])
      expect(new Set(told).size).toBe(3 - (from ?? 1))
    }), { numRuns: 60 })
  })

  it('of an older version is brought up to date by the agent alone: whoever reads says so', async () => {
    await writeFile(join(folder, 'format'), '1\n')
    await expect(checkFormat(folder, steps(silent))).rejects.toMatchObject({ message: expect.stringContaining('is of format 1, and this version works on 3; start the agent once') as string })
    expect(await readdir(folder)).toEqual(['format'])
  })
})

/** Two steps, each of a renaming and a note of it that goes again; `power` may end them before and after each. */
function steps(power: () => void): readonly Step[] {
  const renames = (from: string, to: string): Step => ({
    what: `${from} is called ${to}`,
    take: async data => {
      power()
      await appendFile(join(data, 'note'), 'x')
      power()
      await rename(join(data, from), join(data, to)).catch((cause: unknown) => { if (!isMissing(cause)) throw cause })
      power()
      await rm(join(data, 'note'), { force: true })
    },
  })
  return [renames('one', 'two'), renames('two', 'three')]
}
