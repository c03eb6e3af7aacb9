/**
 * What the frame store costs with so many frames: `npm run bench:frames [-- --frames 100000] [--bytes 2048] [--folder F] [--json]`, in a folder
 * of its own in F, on the disk that is to be measured. Root also measures the start with nothing of the disk in memory.
 */
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { defaultConfig } from '../agent/config.js'
import { nameFrame } from '../agent/frames/frame-name.js'
import { FrameStore } from '../agent/frames/store.js'
import { systemClock } from '../agent/lib/clock.js'
import { tabled } from './bench/table.js'

const { values } = parseArgs({
  options: {
    frames: { type: 'string', default: '100000' }, bytes: { type: 'string', default: '2048' }, folder: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
})
const [count, bytes] = [Number(values.frames), Number(values.bytes)]
const [cameras, days, added] = [4, 25, 1000]
const dayMs = 86_400_000
const nowMs = Date.now()
const folder = await mkdtemp(join(values.folder, 'pawl-bench-frames-'))
const rows: Record<string, string | number>[] = []
const tell = (what: string, ms: number, of: number) => { rows.push({ what, frames: of, 'ms a frame': ms / of, seconds: ms / 1000 }) }

async function timed<T>(what: string, of: number, work: () => Promise<T>): Promise<T> {
  const began = performance.now()
  const result = await work()
  tell(what, performance.now() - began, of)
  return result
}

async function opened(): Promise<FrameStore> {
  const config = { ...defaultConfig().frames, minFreeBytes: 0, maxBytes: count * bytes }
  const store = new FrameStore({ folder, config, clock: systemClock })
  await store.start()
  if (store.count !== count) throw new Error(`${String(store.count)} frames were found, expected ${String(count)}`)
  return store
}

try {
  const jpeg = (index: number) => {
    const content = new Uint8Array(bytes)
    new DataView(content.buffer).setUint32(0, index)
    return content
  }
  for (let index = 0; index < count; index++) {
    const capturedAtMs = nowMs - dayMs - Math.floor((days * dayMs * index) / count)
    const day = join(folder, `camera-${String(index % cameras)}`, new Date(capturedAtMs).toISOString().slice(0, 10))
    const { name } = nameFrame({ capturedAtMs, jpeg: jpeg(index) }, { reason: 'novel', worth: (index % 101) / 100 })
    await mkdir(day, { recursive: true })
    await writeFile(join(day, name), jpeg(index))
  }
  // What was just made must not be written while something else is measured.
  execFileSync('sync')
  if (await writeFile('/proc/sys/vm/drop_caches', '3').then(() => true, () => false)) await timed('start, nothing in memory', count, opened)
  const store = await timed('start', count, opened)
  await timed('list for a round', count, () => Promise.resolve(store.list()))
  const frame = (index: number) => ({ camera: 'camera-0', capturedAtMs: nowMs + index, jpeg: jpeg(count + index) })
  await timed('add, each in the place of another', added, async () => {
    for (let index = 0; index < added; index++) {
      const { full } = await store.add(frame(index), { reason: 'novel', worth: (index % 101) / 100 })
      if (full !== null) throw new Error(full)
    }
  })
  const small = new FrameStore({ folder: join(folder, 'small'), config: { ...defaultConfig().frames, minFreeBytes: 0 }, clock: systemClock })
  await small.start()
  await timed('add to an empty store', added, async () => { for (let index = 0; index < added; index++) await small.add(frame(index)) })
} finally {
  await rm(folder, { recursive: true, force: true })
}
process.stdout.write(values.json ? rows.map(row => `${JSON.stringify(row)}\n`).join('') : `${tabled(rows).join('\n')}\n`)
