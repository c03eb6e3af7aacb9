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

function near(a: Box, b: Box): boolean {
  return a.left - bridge < b.left + b.width && b.left - bridge < a.left + a.width
    && a.top - bridge < b.top + b.height && b.top - bridge < a.top + a.height
}

function union(a: Box, b: Box): Box {
  const [left, top] = [Math.min(a.left, b.left), Math.min(a.top, b.top)]
  return {
    left, top,
    width: Math.max(a.left + a.width, b.left + b.width) - left,
    height: Math.max(a.top + a.height, b.top + b.height) - top,
  }
}

interface Track<P> {
  box: Box
  /** The sight nearest the middle so far, wholly inside the picture. */
  best: (Sight<P> & { distance: number }) | null
  given: boolean
}

/** An object and the picture that it was seen in. */
export interface Sight<P> {
  box: Box
  picture: P
}

/** Follows objects from picture to picture; each is given once, as it was nearest the middle, when it has begun to move away. */
export class Follower<P> {
  private tracks: Track<P>[] = []

  passed(boxes: readonly Box[], width: number, height: number, picture: P): Sight<P>[] {
    const result: Sight<P>[] = []
    const former = [...this.tracks]
    this.tracks = boxes.map(box => {
      const index = former.findIndex(track => between(track.box, box) < longestMove * width)
      const [{ best, given } = { best: null, given: false }] = index < 0 ? [] : former.splice(index, 1)
      const distance = Math.hypot(centre(box).x - width / 2, centre(box).y - height / 2)
      if (best && distance > best.distance) {
        if (!given) result.push({ box: best.box, picture: best.picture })
        return { box, best, given: true }
      }
      const inside = box.left > 0 && box.top > 0 && box.left + box.width < width && box.top + box.height < height
      return { box, best: inside ? { box, picture, distance } : best, given }
    })
    return result
  }
}

function centre({ left, top, width, height }: Box): { x: number; y: number } {
  return { x: left + width / 2, y: top + height / 2 }
}

function between(a: Box, b: Box): number {
  return Math.hypot(centre(a).x - centre(b).x, centre(a).y - centre(b).y)
}
