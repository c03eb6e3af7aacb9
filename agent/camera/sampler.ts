/** From pictures to frames: what is worth classifying, cut out. */
import type { Metadata, OverlayOptions, Sharp } from 'sharp'
import { fitImage, headOf, uprightImage } from '../../trainer/index.js'
import type { CameraConfig } from '../config.js'
import { PawlError } from '../errors.js'
import type { Frame, Picture } from '../events.js'
import type { InTurn } from '../lib/in-turn.js'
import { Background } from './background.js'
import { NearDuplicates } from './near-duplicates.js'
import { findObjects, Follower, type Box } from './objects.js'

/** Width at which motion is looked for, pixels; what is much higher than wide is looked at smaller. */
const look = { width: 160, height: 640 } as const
/** Pixels of a large picture: more than 4K has. */
const largePixels = 10e6

export interface SamplerOptions extends Pick<CameraConfig, 'crop' | 'rotate' | 'masks'> {
  /** Pixels a side of what the model that serves reads: frames are decoded once, and for it. */
  size: () => number
  /** Large pictures are worked on one at a time, whichever camera they are of: memory is for one. */
  largeOnes: InTurn
}

export class Sampler {
  private readonly options: SamplerOptions
  private readonly background = new Background()
  private readonly follower = new Follower<Picture>()
  private readonly duplicates = new NearDuplicates()

  constructor(options: SamplerOptions) {
    this.options = options
  }

  /**
   * The frames that a picture completes. A fixed crop gives one, or none while nothing in it changes; `passing` gives each object
   * once, from the picture in which it was nearest the middle. Errors: IMAGE_UNREADABLE.
   */
  async sample(picture: Picture): Promise<Frame[]> {
    const { crop } = this.options
    try {
      const head = await headOf(picture.jpeg, { whole: true })
      const work = () => (crop === 'passing' ? this.passing(picture, this.sizeOf(head)) : this.fixed(picture, crop, head))
      return await (head.width * head.height > largePixels ? this.options.largeOnes.run(work) : work())
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new PawlError('IMAGE_UNREADABLE', `camera ${picture.camera}: a picture of ${String(picture.jpeg.length)} bytes cannot be used: ${why}`, { cause })
    }
  }

  private async fixed(picture: Picture, crop: Exclude<CameraConfig['crop'], 'passing'>, head: Metadata): Promise<Frame[]> {
    const box = crop === 'whole' ? { left: 0, top: 0, ...this.sizeOf(head) } : { left: crop.x, top: crop.y, width: crop.width, height: crop.height }
    const frame = await this.frame(picture, crop === 'whole' && this.isFrame(head) ? picture.jpeg : await this.cut(picture, box))
    return this.duplicates.repeats(frame.fitted, frame.capturedAtMs) ? [] : [frame]
  }

  private async passing(picture: Picture, size: Size): Promise<Frame[]> {
    const { data, info } = await this.upright(picture)
      .resize(look.width, look.height, { fit: 'inside', kernel: 'linear' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
    const scale = size.width / info.width
    const hidden = this.options.masks.map(mask => shrunk(mask, scale))
    for (const box of hidden) hide(data, info, box)
    const differs = this.background.differs(data, info.width)
    const { width, height } = info
    const passed = this.follower.passed(findObjects(differs, width, height), { width, height, hidden }, picture)
    return Promise.all(passed.map(async sight =>
      this.frame(sight.picture, await this.cut(sight.picture, square(sight.box, scale, size.width, size.height)))))
  }

  private async frame(picture: Picture, jpeg: Uint8Array): Promise<Required<Frame>> {
    return { ...picture, jpeg, fitted: await fitImage(jpeg, this.options.size()) }
  }

  private cut(picture: Picture, box: Box): Promise<Uint8Array> {
    return this.upright(picture).extract(box).composite(this.masksIn(box)).jpeg({ quality: 92 }).toBuffer()
  }

  /** A JPEG of which nothing is to be cut, hidden or turned: encoded again, it would only cost time and lose detail. */
  private isFrame({ format, orientation = 1 }: Metadata): boolean {
    const { rotate, masks } = this.options
    return rotate === 0 && masks.length === 0 && format === 'jpeg' && orientation === 1
  }

  /** As labels are read: upright by the tag that says how, which cropping drops; and turned as the camera hangs. */
  private upright({ jpeg }: Picture): Sharp {
    return uprightImage(jpeg).rotate(this.options.rotate)
  }

  private sizeOf({ autoOrient: { width, height } }: Metadata): Size {
    return this.options.rotate % 180 === 0 ? { width, height } : { width: height, height: width }
  }

  /** What is black of a box, as far as it reaches. */
  private masksIn({ left, top, width, height }: Box): OverlayOptions[] {
    return this.options.masks.flatMap(mask => {
      const [x, y] = [Math.max(mask.x - left, 0), Math.max(mask.y - top, 0)]
      const size = { width: Math.min(mask.x + mask.width - left, width) - x, height: Math.min(mask.y + mask.height - top, height) - y }
      if (size.width <= 0 || size.height <= 0) return []
      return [{ input: { create: { ...size, channels: 3, background: '#000' } }, left: x, top: y }]
    })
  }
}

type Size = Pick<Box, 'width' | 'height'>

/** Every pixel of the smaller picture that a mask touches. */
function shrunk({ x, y, width, height }: CameraConfig['masks'][number], scale: number): Box {
  const [left, top] = [Math.floor(x / scale), Math.floor(y / scale)]
  return { left, top, width: Math.ceil((x + width) / scale) - left, height: Math.ceil((y + height) / scale) - top }
}

/** Black, always: nothing moves there, and its light is nobody's. */
function hide(pixels: Uint8Array, picture: { width: number; height: number }, { left, top, width, height }: Box): void {
  for (let row = top; row < Math.min(top + height, picture.height); row++) {
    pixels.fill(0, row * picture.width + left, row * picture.width + Math.min(left + width, picture.width))
  }
}

/** The smallest square around a box, in the picture's own pixels, as far as the picture reaches. */
function square(box: Box, scale: number, width: number, height: number): Box {
  const side = Math.min(Math.max(box.width, box.height) * scale, width, height)
  const place = (middle: number, whole: number) => Math.round(Math.min(Math.max(0, middle - side / 2), whole - side))
  return {
    left: place((box.left + box.width / 2) * scale, width),
    top: place((box.top + box.height / 2) * scale, height),
    width: Math.floor(side),
    height: Math.floor(side),
  }
}
