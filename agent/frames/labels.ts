/** Human labels: plain class folders that a person may edit, and what of them teaches, gates and promotes. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename } from 'node:fs/promises'
import { basename, dirname, join, parse } from 'node:path'
import { headOf, imageName, readImageFile, uprightImage, type LabeledImage } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { fitting, removeWhereEmpty, writeDurably } from '../lib/durable.js'
import { groupBy } from '../lib/group.js'
import { sameClass } from './class-name.js'
import { readFrameName } from './frame-name.js'

/** Share of the labels kept back for each of the two gates where there is no validation folder. */
const keptBack = 0.2
/** A class needs this many labels before any of them is kept back, or left out because its scene judges. */
const leastForKeeping = 5

export interface LabelSplit {
  labeled: LabeledImage[]
  /** For the pseudo-label gate. */
  gate: LabeledImage[]
  /** For the promotion gate. */
  promotion: LabeledImage[]
}

/** Images of class folders, sorted by path. Errors: LABELS_INSUFFICIENT when the folder cannot be read. */
export async function readClassFolders(folder: string): Promise<{ images: LabeledImage[]; empty: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new PawlError('LABELS_INSUFFICIENT', `${folder}: the folder cannot be read; it should hold one folder of JPEG, PNG or WebP images for each class`, { cause })
  })
  const labels = entries.filter(entry => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name).sort()
  const images: LabeledImage[] = []
  const empty: string[] = []
  for (const label of labels) {
    const files = await readdir(join(folder, label), { withFileTypes: true }).catch((cause: unknown) => {
      throw new PawlError('LABELS_INSUFFICIENT', `${join(folder, label)}: the class folder cannot be read; see to its permissions, and that its name is UTF-8`, { cause })
    })
    const names = files.filter(file => (file.isFile() || file.isSymbolicLink()) && imageName.test(file.name)).map(({ name }) => name).sort()
    if (names.length === 0) empty.push(label)
    for (const name of names) images.push({ path: join(folder, label, name), label, ...sceneOf(name) })
  }
  return { images, empty }
}

/**
 * Frames of one minute show the same things in the same light: they are one scene. The name of a stored frame, which a label keeps, tells
 * the minute but not the camera, so cameras share scenes. Other names tell nothing: each image is a scene of its own.
 */
function sceneOf(name: string): { scene?: string } {
  const frame = readFrameName(name)
  return frame ? { scene: `minute ${String(Math.floor(frame.capturedAtMs / 60_000))}` } : {}
}

/**
 * Splits labels by a hash of each file's name, or of the scene that it tells, so that an image stays on its side whatever is added later. Of a
 * class that the validation folder shows all of `folder` teaches, and the folder's images go half and half to the gates; of any other a fifth goes to
 * each gate, none of a scene that the validation folder shows. A label of a scene that judges does not teach, unless fewer than five others of its
 * class are left to.
 * Errors: LABELS_INSUFFICIENT, saying which folder lacks what. `tell` hears what of the validation folder is left out or spelt otherwise than where
 * it is taught, and of which classes labels judge because nothing else does.
 */
export async function readLabels(folder: string, validation: string | null, tell: (message: string) => void = () => undefined): Promise<LabelSplit> {
  const { images, empty } = await readClassFolders(folder)
  const classes = [...new Set(images.map(({ label }) => label))]
  const missing = (what: string) => new PawlError('LABELS_INSUFFICIENT', `${folder}: ${what}`)
  if (images.length === 0) throw missing('there are no labels yet; put images into one folder for each class')
  if (empty.length) throw missing(`no images in the class folder ${empty.map(name => `"${name}"`).join(', ')}; add some, or remove the folder`)
  if (classes.length < 2) throw missing(`only the class "${classes.join()}"; a classifier needs at least two`)
  const judged = validation ? await readValidation(validation, classes, tell) : []
  const isShown = new Set(judged.map(({ label }) => label))
  const atScenes = scenesOf(judged)
  const [gateShown, promotionShown] = halves(judged)
  const own = images.filter(image => !isShown.has(image.label) && !isOf(image, atScenes))
  const [gateKept, promotionKept] = divided(own, [keptBack, 2 * keptBack], leastForKeeping)
  const gate = [...gateShown, ...gateKept]
  const promotion = [...promotionShown, ...promotionKept]
  if (validation && gateKept.length + promotionKept.length > 0) {
    const own = groupBy([...gateKept, ...promotionKept], ({ label }) => label)
    tell(`${validation}: no images of ${namesOf(own.keys())}, so that ${String([...own.values()].flat().length)} of their labels judge instead of teaching`)
  }
  if (gate.length === 0 || promotion.length === 0) {
    throw missing(`${String(images.length)} labels are too few to keep some back for validation; give ${String(leastForKeeping)} or more of each class, or a validation folder`)
  }
  const kept = new Set([...gateKept, ...promotionKept])
  return { labeled: teaching(images.filter(image => !kept.has(image)), scenesOf([...gate, ...promotion])), gate, promotion }
}

/** The validation images of the classes that are taught; there are some for each gate. */
async function readValidation(folder: string, classes: readonly string[], tell: (message: string) => void): Promise<LabeledImage[]> {
  const { images } = await readClassFolders(folder)
  // `Bag` beside `bag` is a slip.
  const taughtAs = (label: string) => (classes.includes(label) ? label : classes.find(name => sameClass(name, label)))
  for (const [label, own] of groupBy(images, image => image.label)) {
    const taught = taughtAs(label)
    if (taught === undefined) tell(`${join(folder, label)}: ${String(own.length)} images are left out, for nothing teaches "${label}"`)
    else if (taught !== label) tell(`${join(folder, label)}: its ${String(own.length)} images count as "${taught}", as the class is spelt where it is taught`)
  }
  const judged = images.flatMap(image => {
    const label = taughtAs(image.label)
    return label === undefined ? [] : [{ ...image, label }]
  })
  if (judged.length === 0) throw new PawlError('LABELS_INSUFFICIENT', `${folder}: no validation images of the classes ${classes.join(', ')}`)
  if (halves(judged).slice(0, 2).some(half => half.length === 0)) {
    throw new PawlError('LABELS_INSUFFICIENT', `${folder}: ${String(judged.length)} validation images are too few to serve both gates; add some of each class`)
  }
  return judged
}

function namesOf(labels: Iterable<string>): string {
  return [...labels].map(label => `"${label}"`).join(', ')
}

/** Of each class the images of scenes that do not judge; all of them where those are fewer than five. */
function teaching(images: readonly LabeledImage[], judging: ReadonlySet<string>): LabeledImage[] {
  return [...groupBy(images, ({ label }) => label).values()].flatMap(ofClass => {
    const apart = ofClass.filter(image => !isOf(image, judging))
    return apart.length >= leastForKeeping ? apart : ofClass
  })
}

function isOf({ scene }: LabeledImage, scenes: ReadonlySet<string>): boolean {
  return scene !== undefined && scenes.has(scene)
}

function scenesOf(images: readonly LabeledImage[]): Set<string> {
  return new Set(images.flatMap(({ scene }) => scene ?? []))
}

/** For the gate and for promotion. */
function halves(images: readonly LabeledImage[]) {
  return divided(images, [0.5, 1], 1)
}

/**
 * Images whose names hash below the first bound, below the second, and the rest. Classes with fewer than `least` go to the rest, and so
 * does a class of which nothing else would be there: it could not be learned.
 */
function divided(
  images: readonly LabeledImage[], [low, high]: readonly [number, number], least: number,
): [LabeledImage[], LabeledImage[], LabeledImage[]] {
  const parts: [LabeledImage[], LabeledImage[], LabeledImage[]] = [[], [], []]
  for (const own of groupBy(images, ({ label }) => label).values()) {
    const whole = own.length < least || (high < 1 && own.every(image => hashOf(image) < high))
    for (const image of own) {
      const place = whole ? 1 : hashOf(image)
      parts[place < low ? 0 : place < high ? 1 : 2].push(image)
    }
  }
  return parts
}

/** Uniform in [0, 1), from the file's name alone. */
function hashOf({ path, scene }: LabeledImage): number {
  return createHash('sha256').update(scene ?? basename(path)).digest().readUInt32BE() / 2 ** 32
}

/**
 * Copies class folders in, empty ones too, each image whole. What is there already, to the byte and under its name, is not copied again; another
 * of the same name gets one of its own: cameras count from 1 on every card. Pipes and devices are left out. `decoded`: so is
 * what cannot be decoded, which takes time, and is told; else a round finds it.
 */
export async function importLabels(
  from: string, to: string, { decoded = false } = {},
): Promise<{ imported: number; there: number; refused: string[] }> {
  const { images, empty } = await readClassFolders(from)
  for (const label of empty) await mkdir(join(to, label), { recursive: true })
  let [imported, there] = [0, 0]
  const refused: string[] = []
  for (const { path, label } of images) {
    const image = await readImageFile(path).catch(() => null)
    const problem = image && decoded ? await decodingProblem(image) : null
    if (problem !== null) refused.push(`${path} cannot be decoded (${problem})`)
    if (!image || problem !== null) continue
    if (await addLabel(image, join(to, label, basename(path)))) imported++
    else there++
  }
  return { imported, there, refused }
}

/** Why an image cannot be learned from; null: it can. The whole of it is decoded: what is cut off would only be found in the next round. */
export async function decodingProblem(image: Uint8Array): Promise<string | null> {
  try {
    await headOf(image)
    await uprightImage(image).stats()
    return null
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  }
}

/** Writes an image of a class, under a name of its own where another has this one. False: it is there already, to the byte. */
export async function addLabel(image: Uint8Array, path: string): Promise<boolean> {
  const target = await placeFor(image, path)
  if (target === null) return false
  try {
    await writeDurably(target, image)
  } catch (cause) {
    // An empty class would keep every round from beginning.
    await removeWhereEmpty(dirname(target))
    throw cause
  }
  return true
}

/** The path, or the first like it that no other file has; null: one of them holds the same bytes. */
async function placeFor(image: Uint8Array, path: string): Promise<string | null> {
  for (let copy = 1; ; copy++) {
    const place = numbered(path, copy)
    if (!existsSync(place)) return place
    if (Buffer.compare(image, await readImageFile(place).catch(() => Buffer.alloc(0))) === 0) return null
  }
}

/** x.png, x-2.png, x-3.png, ...; what is too long to be followed by `ending` is cut. */
function numbered(path: string, copy: number, ending = ''): string {
  const { dir, name, ext } = parse(path)
  const own = `${copy === 1 ? '' : `-${String(copy)}`}${ext}`
  return join(dir, `${fitting(name, `${own}${ending}`)}${own}`)
}

/** Of the file that tells the reason. */
const beside = '.reason.txt'

/** Puts an unreadable image aside, with the reason beside it; nothing is deleted or replaced. Null when a person took it away meanwhile. */
export async function quarantine(path: string, reason: string, folder: string): Promise<string | null> {
  const place = join(folder, basename(dirname(path)))
  await mkdir(place, { recursive: true })
  let copy = 1
  while (existsSync(numbered(join(place, basename(path)), copy, beside))) copy++
  const target = numbered(join(place, basename(path)), copy, beside)
  try {
    await rename(path, target)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return null
    throw cause
  }
  await writeDurably(`${target}${beside}`, `${reason}\n`)
  return target
}
