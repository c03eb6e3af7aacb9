/** From pictures to frames: what is worth classifying, cut out. */
import sharp from 'sharp'
import type { CameraConfig } from '../config.js'
import type { Frame, Picture } from '../events.js'
import { Background } from './background.js'
import { findObjects, Follower, type Box } from './objects.js'

sharp.cache(false)
sharp.concurrency(1)

/** Larger pictures are refused before they are decoded: 64 megapixels. */
const limitInputPixels = 64e6
/** Width at which motion is looked for, pixels. */
const lookWidth = 160
/** Room around what passes, as a share of its longer side. */
const margin = 0.02

export class Sampler {
  private readonly crop: CameraConfig['crop']
  private readonly background = new Background()
  private readonly follower = new Follower()

  constructor({ crop }: { crop: CameraConfig['crop'] }) {
    this.crop = crop
  }

  /** The frames in a picture: one for a fixed crop, and what has just passed the middle for `passing`. Errors: no image. */
  async sample(picture: Picture): Promise<Frame[]> {
    if (this.crop === 'whole') return [await this.frame(picture, null)]
    if (this.crop !== 'passing') {
      const { x, y, width, height } = this.crop
      return [await this.frame(picture, { left: x, top: y, width, height })]
    }
    const { data, info } = await sharp(picture.jpeg, { limitInputPixels })
      .resize(lookWidth, null, { kernel: 'linear' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
    const mask = this.background.differs(data, info.width)
    const objects = findObjects(mask, info.width, info.height)
    const passed = this.follower.passed(objects, info.width, info.height)
    if (passed.length === 0) return []
    const { width = 0, height = 0 } = await sharp(picture.jpeg).metadata()
    return Promise.all(passed.map(box => this.frame(picture, square(box, width / info.width, width, height))))
  }

  private async frame(picture: Picture, box: Box | null): Promise<Frame> {
    const image = sharp(picture.jpeg, { limitInputPixels, failOn: 'error' })
    const cut = box ? image.extract(box) : image
    const { data, info } = await cut.jpeg({ quality: 92 }).toBuffer({ resolveWithObject: true })
    return { camera: picture.camera, capturedAtMs: picture.capturedAtMs, jpeg: data, width: info.width, height: info.height }
  }
}

/** The smallest square around a box, in the picture's own pixels, as far as the picture reaches. */
function square(box: Box, scale: number, width: number, height: number): Box {
  const side = Math.min(Math.max(box.width, box.height) * (1 + 2 * margin) * scale, width, height)
  const place = (middle: number, whole: number) => Math.round(Math.min(Math.max(0, middle - side / 2), whole - side))
  return {
    left: place((box.left + box.width / 2) * scale, width),
    top: place((box.top + box.height / 2) * scale, height),
    width: Math.floor(side),
    height: Math.floor(side),
  }
}
