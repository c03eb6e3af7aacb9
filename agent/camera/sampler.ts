/** From pictures to frames: what is worth classifying, cut out. */
import sharp from 'sharp'
import type { CameraConfig } from '../config.js'
import { PawlError } from '../errors.js'
import type { Frame, Picture } from '../events.js'
import { Background } from './background.js'
import { NearDuplicates } from './near-duplicates.js'
import { findObjects, Follower, type Box } from './objects.js'

sharp.cache(false)
sharp.concurrency(1)

/** Larger pictures are refused before they are decoded: 64 megapixels. */
const limitInputPixels = 64e6
/** Width at which motion is looked for, pixels. */
const lookWidth = 160

export class Sampler {
  private readonly crop: CameraConfig['crop']
  private readonly background = new Background()
  private readonly follower = new Follower<Picture>()
  private readonly duplicates = new NearDuplicates()

  constructor({ crop }: { crop: CameraConfig['crop'] }) {
    this.crop = crop
  }

  /**
   * The frames that a picture completes. A fixed crop gives one, or none while nothing in it changes; `passing` gives each object
   * once, from the picture in which it was nearest the middle. Errors: IMAGE_UNREADABLE.
   */
  async sample(picture: Picture): Promise<Frame[]> {
    try {
      return this.crop === 'passing' ? await this.passing(picture) : await this.fixed(picture, this.crop)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new PawlError('IMAGE_UNREADABLE', `camera ${picture.camera}: a picture of ${String(picture.jpeg.length)} bytes cannot be used: ${why}`, { cause })
    }
  }

  private async fixed(picture: Picture, crop: Exclude<CameraConfig['crop'], 'passing'>): Promise<Frame[]> {
    const box = crop === 'whole' ? null : { left: crop.x, top: crop.y, width: crop.width, height: crop.height }
    const frame = await this.frame(picture, box)
    return await this.duplicates.repeats(frame) ? [] : [frame]
  }

  private async passing(picture: Picture): Promise<Frame[]> {
    const { data, info } = await sharp(picture.jpeg, { limitInputPixels, failOn: 'error' }).autoOrient()
      .resize(lookWidth, null, { kernel: 'linear' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
    const objects = findObjects(this.background.differs(data, info.width), info.width, info.height)
    const passed = this.follower.passed(objects, info.width, info.height, picture)
    return Promise.all(passed.map(async sight => {
      const { width, height } = (await sharp(sight.picture.jpeg).metadata()).autoOrient
      return this.frame(sight.picture, square(sight.box, width / info.width, width, height))
    }))
  }

  private async frame(picture: Picture, box: Box | null): Promise<Frame> {
    // Upright, as labels are read: cropping drops the tag that says how.
    const image = sharp(picture.jpeg, { limitInputPixels, failOn: 'error' }).autoOrient()
    const cut = box ? image.extract(box) : image
    const { data, info } = await cut.jpeg({ quality: 92 }).toBuffer({ resolveWithObject: true })
    return { camera: picture.camera, capturedAtMs: picture.capturedAtMs, jpeg: data, width: info.width, height: info.height }
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
