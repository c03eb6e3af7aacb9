/** What becomes of images that a round could not read. */
import { mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { LabelStore } from '../agent/frames/label-store.js'
import { setAside } from '../agent/frames/set-aside.js'

let data = ''
let whole = Buffer.alloc(0)

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-aside-'))
  await mkdir(join(data, 'labels', 'cup'), { recursive: true })
  whole = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#888', noise: { type: 'gaussian', mean: 120, sigma: 40 } } }).jpeg().toBuffer()
})
afterEach(() => rm(data, { recursive: true, force: true }))

/** A label as it lies there once the round is over; what becomes of it: whether it is still there, and what was told. */
async function afterRound(bytes: Uint8Array, { ageMs = 60_000 } = {}) {
  const path = join(data, 'labels', 'cup', 'a.jpg')
  await writeFile(path, bytes)
  const at = new Date(Date.now() - ageMs)
  await utimes(path, at, at)
  return await told(path)
}

async function told(path: string) {
  const [aside, problems]: [string[], string[]] = [[], []]
  await setAside([{ path, reason: 'premature end of JPEG image' }], {
    frames: { holds: () => false, remove: () => Promise.resolve() },
    labels: new LabelStore({ data, config: { import: '', importValidation: '' } }),
    onSetAside: image => { aside.push(image.path) },
    onProblem: message => { problems.push(message) },
  })
  return { there: (await readdir(join(data, 'labels', 'cup'))).length === 1, aside: aside.length, problems }
}

it('a label that is damaged is put into quarantine, with the reason', async () => {
  expect(await afterRound(whole.subarray(0, 500))).toEqual({ there: false, aside: 1, problems: [] })
  expect((await readdir(join(data, 'quarantine', 'cup'))).sort()).toEqual(['a.jpg', 'a.jpg.reason.txt'])
})

it('a label that was being copied in while the round read it stays', async () => {
  expect(await afterRound(whole)).toEqual({ there: true, aside: 0, problems: [] })
  // Or still is.
  expect(await afterRound(whole.subarray(0, 500), { ageMs: 500 })).toEqual({ there: true, aside: 0, problems: [] })
})

it('a label that cannot be opened, for whatever the file system says, stays and is told', async () => {
  const path = join(data, 'labels', 'cup', 'a.jpg')
  await symlink(path, path)
  const { there, aside, problems } = await told(path)
  expect({ there, aside, problems }).toEqual({ there: true, aside: 0, problems: [expect.stringContaining('ELOOP')] })
})
