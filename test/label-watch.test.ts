/** Labels that a person adds while the agent runs. */
import { mkdir, mkdtemp, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { LabelWatch } from '../agent/frames/label-watch.js'

let folder = ''
let watch: LabelWatch
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-labels-'))
  watch = new LabelWatch({ folder, everyMs: 50, nowMs: Date.now })
})
afterEach(async () => {
  await watch.stop()
  await rm(folder, { recursive: true, force: true })
})

async function add(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(join(folder, path, '..'), { recursive: true })
    await writeFile(join(folder, path), '')
  }
}

/** Two looks that find the same. */
async function settled(): Promise<void> {
  await watch.look()
  await watch.look()
}

it('are counted from a time on: copied with their old dates, moved in, moved to another class; not what a class is renamed to', async () => {
  await add('bag/1.png', 'bag/2.png', 'shoe/3.jpg')
  await settled()
  await new Promise(resolve => setTimeout(resolve, 20))
  const fromMs = Date.now()
  expect([watch.since(0), watch.since(fromMs)]).toEqual([3, 0])
  await new Promise(resolve => setTimeout(resolve, 20))
  await add('shoe/4.jpeg', 'shoe/notes.txt', 'shoe/.5.png', 'dress/6.png')
  await utimes(join(folder, 'shoe/4.jpeg'), 1000, 1000)
  await settled()
  expect([watch.since(0), watch.since(fromMs)]).toEqual([5, 2])
  await rename(join(folder, 'bag/1.png'), join(folder, 'shoe/1.png'))
  await settled()
  expect([watch.since(0), watch.since(fromMs)]).toEqual([5, 3])
  await rename(join(folder, 'bag'), join(folder, 'handbag'))
  await settled()
  expect([watch.since(0), watch.since(fromMs)]).toEqual([5, 3])
  expect(Math.abs(watch.newestAtMs - Date.now())).toBeLessThan(10_000)
  await rm(join(folder, 'dress'), { recursive: true })
  await settled()
  expect(watch.since(0)).toBe(4)
})

it('are none while somebody is still adding some', async () => {
  await add('bag/1.png')
  await settled()
  for (let label = 2; label < 6; label++) {
    await add(`bag/${String(label)}.png`)
    await watch.look()
    expect(watch.since(0)).toBe(0)
  }
  await watch.look()
  expect(watch.since(0)).toBe(5)
})

it('are noticed by itself, also once a folder appears that was not there', async () => {
  await rm(folder, { recursive: true })
  await watch.start()
  expect([watch.since(0), watch.newestAtMs]).toEqual([0, 0])
  await add('bag/1.png')
  await vi.waitFor(() => { expect(watch.since(0)).toBe(1) }, { timeout: 60_000 })
})
