/** Objects in a mask, and which of them has just passed the middle of the picture. */

export interface Box {
  left: number
  top: number
  width: number
  height: number
}

/** Parts closer than this many pixels belong to one object. */
const bridge = 5
/** Smaller ones, as a share of the picture's area, are noise. */
const leastArea = 0.01
/** Longest move of an object between two pictures, as a share of the picture's width. */
const longestMove = 0.25
/** Pictures over which an object may be lost from sight and still be the same. */
const longestMissed = 2

/** Boxes around the connected areas of a mask (row-major, 1: object). */
export function findObjects(mask: Uint8Array, width: number, height: number): Box[] {
  const seen = new Uint8Array(mask.length)
  const boxes: Box[] = []
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue
    boxes.push(flood(mask, seen, start, width, height))
  }
  return merged(boxes).filter(box => box.width * box.height >= leastArea * width * height)
}

function flood(mask: Uint8Array, seen: Uint8Array, start: number, width: number, height: number): Box {
  let [left, right, top, bottom] = [width, 0, height, 0]
  const stack = [start]
  seen[start] = 1
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    const [x, y] = [at % width, Math.floor(at / width)]
    left = Math.min(left, x)
    right = Math.max(right, x)
    top = Math.min(top, y)
    bottom = Math.max(bottom, y)
    for (const [toX, toY] of [[x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]] as const) {
      const next = toY * width + toX
      if (toX < 0 || toX >= width || toY < 0 || toY >= height || seen[next] || !mask[next]) continue
      seen[next] = 1
      stack.push(next)
    }
  }
  return { left, top, width: right - left + 1, height: bottom - top + 1 }
}

/** Joins boxes that nearly touch, until none do; single specks join nothing. */
function merged(boxes: readonly Box[]): Box[] {
  let all = boxes.filter(({ width, height }) => width * height > 4)
  for (;;) {
    const pair = firstPair(all)
    if (!pair) return all
    const [a, b] = pair
    all = [...all.filter(box => box !== a && box !== b), union(a, b)]
  }
}

function firstPair(boxes: readonly Box[]): [Box, Box] | null {
  for (const [index, a] of boxes.entries()) {
    const b = boxes.slice(index + 1).find(other => near(a, other))
    if (b) return [a, b]
  }
  return null
}

function near(a: Box, b: Box, distance = bridge): boolean {
  return a.left - distance < b.left + b.width && b.left - distance < a.left + a.width
    && a.top - distance < b.top + b.height && b.top - distance < a.top + a.height
}

function touches(a: Box, b: Box): boolean {
  return near(a, b, 1)
}

function union(a: Box, b: Box): Box {
  const [left, top] = [Math.min(a.left, b.left), Math.min(a.top, b.top)]
  return {
    left, top,
    width: Math.max(a.left + a.width, b.left + b.width) - left,
    height: Math.max(a.top + a.height, b.top + b.height) - top,
  }
}

/** An object and the picture that it was seen in. */
export interface Sight<P> {
  box: Box
  picture: P
}

/** Size of the picture that boxes lie in, pixels, and the parts of it that are masked. */
export interface View {
  width: number
  height: number
  hidden: readonly Box[]
}

interface Track<P> {
  box: Box
  /** The sight nearest the middle so far, wholly inside the picture. */
  best: (Sight<P> & { distance: number }) | null
  given: boolean
  sights: number
  /** Pictures since it was last seen. */
  missed: number
}

/**
 * Follows objects from picture to picture; each that is seen more than once is given once, as it was nearest the middle, when it
 * has begun to move away or is gone.
 */
export class Follower<P> {
  private tracks: Track<P>[] = []

  /** `hidden`: where nothing can be seen; what touches it may reach into it. */
  passed(boxes: readonly Box[], { width, height, hidden }: View, picture: P): Sight<P>[] {
    const result: Sight<P>[] = []
    const give = ({ best, given, sights }: Track<P>) => { if (best && !given && sights > 1) result.push({ box: best.box, picture: best.picture }) }
    const matches = matched(this.tracks, boxes, longestMove * width)
    const seen = boxes.map((box): Track<P> => {
      const former = matches.get(box) ?? { best: null, given: this.isPart(box, width), sights: 0 }
      const track = { box, best: former.best, given: former.given, sights: former.sights + 1, missed: 0 }
      const distance = Math.hypot(centre(box).x - width / 2, centre(box).y - height / 2)
      if (track.best && distance > track.best.distance) {
        give(track)
        return { ...track, given: true }
      }
      const inside = box.left > 0 && box.top > 0 && box.left + box.width < width && box.top + box.height < height
        && !hidden.some(other => touches(box, other))
      return inside ? { ...track, best: { box, picture, distance } } : track
    })
    const found = new Set(matches.values())
    const lost = this.tracks.filter(track => !found.has(track)).map(track => ({ ...track, missed: track.missed + 1 }))
    for (const track of lost) if (track.missed > longestMissed) give(track)
    this.tracks = [...seen, ...lost.filter(({ missed }) => missed <= longestMissed)]
    return result
  }

  /** What appears beside an object that was given is a part of it: other objects come in from the side. */
  private isPart(box: Box, width: number): boolean {
    return this.tracks.some(track => track.given && between(track.box, box) < longestMove * width)
  }
}

/** The track of each box that has one: nearest pairs first, each track once. */
function matched<P>(tracks: readonly Track<P>[], boxes: readonly Box[], farthest: number): Map<Box, Track<P>> {
  const pairs = tracks.flatMap(track => boxes.map(box => ({ track, box, distance: between(track.box, box) })))
  const matches = new Map<Box, Track<P>>()
  const taken = new Set<Track<P>>()
  for (const { track, box, distance } of pairs.sort((a, b) => a.distance - b.distance)) {
    if (distance >= farthest || matches.has(box) || taken.has(track)) continue
    matches.set(box, track)
    taken.add(track)
  }
  return matches
}

function centre({ left, top, width, height }: Box): { x: number; y: number } {
  return { x: left + width / 2, y: top + height / 2 }
}

function between(a: Box, b: Box): number {
  return Math.hypot(centre(a).x - centre(b).x, centre(a).y - centre(b).y)
}
