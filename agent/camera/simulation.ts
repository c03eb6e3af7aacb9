/**
 * The bundled camera: photographs pass on a moving belt, with sensor noise and slowly changing light, served as a real MJPEG
 * stream over HTTP on loopback. What it shows follows from its seed; only the pace is the clock's.
 */
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, relative } from 'node:path'
import sharp from 'sharp'

const width = 320
const height = 240
const itemSide = 112
/** From the start of one item to the start of the next. */
const spacing = 280
const boundary = 'pawl-belt'

/** How the site changes over time. */
export interface Drift {
  /** Brightness of the lamp against normal. */
  light: number
  /** Turn of every item on the belt, degrees. */
  turn: number
  /** Blur of the lens, pixels. */
  blur: number
}

export const noDrift: Drift = { light: 1, turn: 0, blur: 0 }

export interface SimulationOptions {
  /** Folder of photographs: flat, or a folder for each class, and then what passes is known. */
  photographs: string
  picturesPerSecond: number
  /** Pixels that the belt moves from picture to picture. */
  speed: number
  seed: number
}

/** What lies on the belt. */
export interface Photograph {
  path: string
  /** Its class; null: nobody knows. */
  label: string | null
}

interface Item extends Photograph {
  left: number
  top: number
  pixels: Uint8Array
}

export class Simulation {
  drift: Drift = noDrift
  private readonly options: SimulationOptions
  private readonly viewers = new Set<ServerResponse>()
  private readonly server: Server
  private readonly random: () => number
  private readonly texture = new Uint8Array(width * 2 * height)
  private photographs: Photograph[] = []
  private items: Item[] = []
  private travelled = 0
  private passed = 0
  private timer: NodeJS.Timeout | null = null
  private drawing = false

  constructor(options: SimulationOptions) {
    this.options = options
    this.random = mulberry(options.seed)
    this.server = createServer((_, response) => {
      response.writeHead(200, { 'content-type': `multipart/x-mixed-replace; boundary=${boundary}`, 'cache-control': 'no-store' })
      this.viewers.add(response)
      response.on('close', () => { this.viewers.delete(response) })
    })
  }

  /** Starts to serve; gives the stream's address. */
  async start(): Promise<string> {
    this.photographs = await photographsIn(this.options.photographs)
    if (this.photographs.length === 0) throw new Error(`${this.options.photographs}: no photographs for the simulated belt`)
    for (let at = 0; at < this.texture.length; at++) this.texture[at] = 8 + Math.floor(this.random() * 8)
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    this.timer = setInterval(() => { void this.tick() }, 1000 / this.options.picturesPerSecond)
    return `http://127.0.0.1:${String((this.server.address() as AddressInfo).port)}/`
  }

  async stop(): Promise<void> {
    if (this.timer) clearInterval(this.timer)
    for (const viewer of this.viewers) viewer.destroy()
    if (this.server.listening) {
      const closed = once(this.server, 'close')
      this.server.close()
      this.server.closeAllConnections()
      await closed
    }
  }

  /** What is nearest the middle of the picture now: the truth, for those who check what the agent makes of it. */
  nearestMiddle(): Photograph | null {
    const away = ({ left }: Item) => Math.abs(left + itemSide / 2 - width / 2)
    const [nearest] = this.items.toSorted((a, b) => away(a) - away(b))
    return nearest ? { path: nearest.path, label: nearest.label } : null
  }

  private async tick(): Promise<void> {
    // A slow machine shows fewer pictures; the belt waits for it.
    if (this.drawing || this.viewers.size === 0) return
    this.drawing = true
    try {
      const jpeg = await this.draw()
      const head = `--${boundary}\r\ncontent-type: image/jpeg\r\ncontent-length: ${String(jpeg.length)}\r\n\r\n`
      for (const viewer of this.viewers) {
        if (viewer.writableLength < 1_000_000) viewer.write(Buffer.concat([Buffer.from(head), jpeg, Buffer.from('\r\n')]))
      }
    } finally {
      this.drawing = false
    }
  }

  /** The next picture, JPEG. */
  private async draw(): Promise<Buffer> {
    this.travelled += this.options.speed
    for (const item of this.items) item.left += this.options.speed
    this.items = this.items.filter(({ left }) => left < width)
    if (this.travelled >= this.passed * spacing) await this.layItem()
    const picture = Buffer.alloc(width * height)
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const place = (column - this.travelled) % (2 * width)
        picture[row * width + column] = this.texture[row * 2 * width + (place < 0 ? place + 2 * width : place)] ?? 0
      }
    }
    for (const item of this.items) this.lay(picture, item)
    const light = this.drift.light * (1 + 0.12 * Math.sin(this.travelled / 900))
    for (let at = 0; at < picture.length; at++) {
      // The sum of three uniform draws is close enough to a normal one: noise of 3 grey levels.
      const noise = (this.random() + this.random() + this.random() - 1.5) * 6
      picture[at] = Math.max(0, Math.min(255, (picture[at] ?? 0) * light + noise))
    }
    let image = sharp(picture, { raw: { width, height, channels: 1 } })
    if (this.drift.blur > 0) image = image.blur(this.drift.blur)
    return image.jpeg({ quality: 85 }).toBuffer()
  }

  private lay(picture: Buffer, item: Item): void {
    for (let row = 0; row < itemSide; row++) {
      for (let column = Math.max(0, -item.left); column < itemSide && item.left + column < width; column++) {
        const at = (item.top + row) * width + item.left + column
        picture[at] = Math.max(picture[at] ?? 0, item.pixels[row * itemSide + column] ?? 0)
      }
    }
  }

  private async layItem(): Promise<void> {
    this.passed++
    const photograph = this.photographs[Math.floor(this.random() * this.photographs.length)]
    if (!photograph) return
    const top = Math.round((height - itemSide) / 2 + (this.random() - 0.5) * 40)
    const pixels = await sharp(photograph.path)
      .resize(itemSide, itemSide, { kernel: 'cubic' })
      .rotate(this.drift.turn, { background: '#000' })
      .resize(itemSide, itemSide, { fit: 'inside' })
      .toColourspace('b-w').raw().toBuffer()
    this.items.push({ ...photograph, left: -itemSide, top, pixels })
  }
}

async function photographsIn(folder: string): Promise<Photograph[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile() && entry.name.endsWith('.png'))
    .map(({ parentPath, name }) => ({ path: join(parentPath, name), label: relative(folder, parentPath) || null }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Mulberry32. */
function mulberry(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
