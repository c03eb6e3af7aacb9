/** Pictures that nobody took: damaged, enormous once decoded, of other kinds than their names say, and rare ones that are good. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import { Random } from '../../trainer/index.js'
import { bundled } from '../../agent/config.js'
import { classes } from '../site/labels.js'
import { bytesOf, damaged } from './draw.js'

export interface Picture {
  kind: string
  bytes: Buffer
}

/** Of what is plain, so that a file is small whatever it is decoded to. */
const plain = (width: number, height: number, channels: 3 | 4 = 3) => sharp({ create: { width, height, channels, background: '#777' }, limitInputPixels: false })
/** Pixels a side: of 47 megapixels, nearly as many as are decoded of a camera's, and of 25, too many for a progressive picture. */
const [large, whole] = [6900, 5000]

export class Pictures {
  /** What may be on a picture: photographs of the classes that the box knows. */
  readonly photographs: readonly Buffer[]
  private readonly random: Random
  private readonly fixed: readonly Picture[]

  static async prepare(random: Random): Promise<Pictures> {
    const files = await Promise.all(classes.map(async label => (await readdir(join(bundled('test'), label))).slice(0, 20).map(name => join(bundled('test'), label, name))))
    const photographs = await Promise.all(files.flat().map(file => sharp(file).resize(112, 112).jpeg().toBuffer()))
    const fixed: Picture[] = []
    for (const [kind, make] of Object.entries(makers)) fixed.push({ kind, bytes: await make(photographs[0] ?? Buffer.alloc(0)) })
    return new Pictures(random, photographs, fixed)
  }

  private constructor(random: Random, photographs: readonly Buffer[], fixed: readonly Picture[]) {
    this.random = random
    this.photographs = photographs
    this.fixed = fixed
  }

  /** One of each kind, and of the damaged ones. */
  all(): Picture[] {
    return [...this.fixed, ...Array.from({ length: 12 }, () => this.damaged())]
  }

  damaged(): Picture {
    const { random, photographs, fixed } = this
    const own = random.float() < 0.7 ? photographs : fixed.filter(({ bytes }) => bytes.length > 0 && bytes.length < 100_000).map(({ bytes }) => bytes)
    return { kind: 'damaged', bytes: damaged(random, own[random.below(own.length)] ?? Buffer.alloc(0)) }
  }
}

/** From a good JPEG. */
const makers: Record<string, (jpeg: Buffer) => Buffer | Promise<Buffer>> = {
  nothing: () => Buffer.alloc(0),
  'one byte': () => Buffer.from([0xff]),
  zeros: () => Buffer.alloc(5000),
  noise: () => bytesOf(Random.of(7), 5000),
  'the head of a JPEG': jpeg => jpeg.subarray(0, 200),
  'a JPEG cut off': jpeg => jpeg.subarray(0, jpeg.length - 400),
  'a JPEG that says 65,535 a side': jpeg => saying(jpeg, 65_535),
  'a PNG that says two thousand million a side': () => png([{ type: 'IHDR', data: header(0x7fffffff, 0x7fffffff, 8, 2) }, { type: 'IDAT', data: deflateSync(Buffer.alloc(1000)) }]),
  'a PNG of 900 megapixels': () => png([{ type: 'IHDR', data: header(30_000, 30_000, 1, 0) }, { type: 'IDAT', data: zeros(30_000 * 3751) }]),
  'a PNG with 100 MB of text': () => png([
    { type: 'IHDR', data: header(8, 8, 8, 0) }, { type: 'zTXt', data: Buffer.concat([Buffer.from('a\0\0'), zeros(1e8)]) },
    { type: 'IDAT', data: deflateSync(Buffer.alloc(72)) },
  ]),
  'a PNG with a profile of 100 MB': () => png([
    { type: 'IHDR', data: header(8, 8, 8, 2) }, { type: 'iCCP', data: Buffer.concat([Buffer.from('a\0\0'), zeros(1e8)]) },
    { type: 'IDAT', data: deflateSync(Buffer.alloc(200)) },
  ]),
  'a JPEG of 47 megapixels': () => plain(large, large).jpeg().toBuffer(),
  'a PNG of 47 megapixels': () => png([{ type: 'IHDR', data: header(large, large, 8, 2) }, { type: 'IDAT', data: zeros(large * (large * 3 + 1)) }]),
  'a WebP of 62 megapixels': () => Buffer.from('524946461e000000574542505650384c110000002fdbdeb60707d0bbdef5aeff8188e87f0000', 'hex'),
  'a progressive JPEG that says 25 megapixels': async () => saying(await progressive(64), whole),
  'an interlaced PNG of 25 megapixels in 16 bits': () => png([
    { type: 'IHDR', data: header(whole, whole, 16, 6, 1) }, { type: 'IDAT', data: zeros(whole * whole * 8 + 2 * whole) },
  ]),
  'a progressive JPEG with 200 scans': async () => withScanRepeated(await progressive(1000), 200),
  'a JPEG one pixel wide': () => plain(1, 65_500).jpeg().toBuffer(),
  'a JPEG one pixel high': () => plain(65_500, 1).jpeg().toBuffer(),
  'one pixel': () => plain(1, 1).png().toBuffer(),
  'a PNG of 16 bits': () => plain(64, 64, 4).toColourspace('rgb16').png().toBuffer(),
  'a JPEG in CMYK': () => plain(64, 64).toColourspace('cmyk').jpeg().toBuffer(),
  'a GIF that moves': () => moving().gif().toBuffer(),
  'a WebP that moves': () => moving().webp().toBuffer(),
  'a TIFF': () => plain(64, 64).tiff().toBuffer(),
  'an AVIF': () => plain(64, 64).avif({ effort: 0 }).toBuffer(),
  'an SVG of a million a side': () => Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="1000000" height="1000000"><rect width="100%" height="100%"/></svg>'),
  'an SVG that laughs': () => Buffer.from(`<!DOCTYPE svg [<!ENTITY a "${'ha'.repeat(10)}">${'bcdefghi'.split('').map((name, index) =>
    `<!ENTITY ${name} "${`&${'abcdefgh'[index] ?? ''};`.repeat(10)}">`).join('')}]><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&i;</text></svg>`),
  'an SVG that reads a file': () => Buffer.from('<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9"><text>&x;</text><image xlink:href="file:///etc/passwd" width="9" height="9"/></svg>'),
  'a web page': () => Buffer.from('<!doctype html><title>login</title>'),
  'a PDF': () => Buffer.from('%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>'),
  'a program': () => Buffer.from('\x7fELF\x02\x01\x01'.padEnd(500, '\0'), 'latin1'),
  'a JPEG that is a script, too': jpeg => Buffer.concat([jpeg.subarray(0, 2), segment(0xfe, Buffer.from('*/=alert(1)/*<?php system("touch canary") ?><script>')), jpeg.subarray(2), Buffer.from('PK\x03\x04 */')]),
  'a JPEG with EXIF that goes in circles': jpeg => Buffer.concat([jpeg.subarray(0, 2), segment(0xe1, circularExif()), jpeg.subarray(2)]),
  'a JPEG with 6 MB of EXIF': jpeg => Buffer.concat([jpeg.subarray(0, 2), ...Array.from({ length: 100 }, () => segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0'), Buffer.alloc(60_000)]))), jpeg.subarray(2)]),
}

function progressive(side: number): Promise<Buffer> {
  return plain(side, side).jpeg({ progressive: true, chromaSubsampling: '4:4:4' }).toBuffer()
}

function moving(): Sharp {
  const [side, pages] = [64, 200]
  return sharp(Buffer.alloc(side * side * pages * 3, 90), { raw: { width: side, height: side * pages, channels: 3, pageHeight: side } })
}

function zeros(count: number): Buffer {
  return deflateSync(Buffer.alloc(count), { level: 1 })
}

/** The head of the frame (SOF0, SOF2) says another size. */
function saying(jpeg: Buffer, side: number): Buffer {
  const bytes = Buffer.from(jpeg)
  const head = [0xc0, 0xc2].map(marker => bytes.indexOf(Buffer.from([0xff, marker, 0, 17]))).find(at => at >= 0) ?? 0
  bytes.writeUInt16BE(side, head + 5)
  bytes.writeUInt16BE(side, head + 7)
  return bytes
}

/** A marker segment of JPEG. */
function segment(marker: number, data: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0])
  head.writeUInt16BE(data.length + 2, 2)
  return Buffer.concat([head, data])
}

/** TIFF, big-endian: a directory of one entry that points to a directory at its own place, and so does the next. */
function circularExif(): Buffer {
  const tiff = Buffer.from('4d4d002a00000008' + '0001' + '8769' + '0004' + '00000001' + '00000008' + '00000008', 'hex')
  return Buffer.concat([Buffer.from('Exif\0\0'), tiff])
}

/** The first scan, said again and again. */
function withScanRepeated(jpeg: Buffer, times: number): Buffer {
  const scan = Buffer.from([0xff, 0xda])
  const [from, end] = [jpeg.indexOf(scan), jpeg.indexOf(scan, jpeg.indexOf(scan) + 2)]
  return Buffer.concat([jpeg.subarray(0, end), ...Array.from({ length: times }, () => jpeg.subarray(from, end)), jpeg.subarray(end)])
}

function header(width: number, height: number, depth: number, colour: number, interlaced = 0): Buffer {
  const data = Buffer.alloc(13)
  data.writeUInt32BE(width)
  data.writeUInt32BE(height, 4)
  data.set([depth, colour, 0, 0, interlaced], 8)
  return data
}

function png(chunks: readonly { type: string; data: Buffer }[]): Buffer {
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...[...chunks, { type: 'IEND', data: Buffer.alloc(0) }].map(({ type, data }) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    sum.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, sum])
  })])
}
