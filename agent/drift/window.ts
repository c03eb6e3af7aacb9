/** The newest predictions, one row of numbers each: a ring of a fixed size. */
export class Window {
  /** Rows added so far. */
  count = 0
  readonly size: number
  private readonly width: number
  /** [size, width], flat. */
  private readonly rows: Float32Array
  private readonly times: Float64Array

  constructor({ size, width }: { size: number; width: number }) {
    this.size = size
    this.width = width
    this.rows = new Float32Array(size * width)
    this.times = new Float64Array(size)
  }

  get full(): boolean {
    return this.count >= this.size
  }

  add(row: Float32Array, atMs: number): void {
    const place = this.count % this.size
    this.rows.set(row, place * this.width)
    this.times[place] = atMs
    this.count++
  }

  /** A list for each number of a row, the oldest first. */
  columns(): Float32Array[] {
    const places = this.places()
    return Array.from({ length: this.width }, (_, dimension) => {
      const column = new Float32Array(places.length)
      places.forEach((place, index) => { column[index] = this.rows[place * this.width + dimension] ?? 0 })
      return column
    })
  }

  /** The oldest first. */
  timesMs(): number[] {
    return this.places().map(place => this.times[place] ?? 0)
  }

  private places(): number[] {
    const held = Math.min(this.count, this.size)
    return Array.from({ length: held }, (_, index) => (this.count - held + index) % this.size)
  }
}

/** Where a list parts from `usual`: from there on it keeps to the far side of the middle between `usual` and its later half (CUSUM). */
export function partingPlace(values: Float32Array, usual: number): number {
  const later = values.subarray(Math.floor(values.length / 2))
  const mean = later.reduce((sum, value) => sum + value, 0) / later.length
  const away = Math.sign(mean - usual)
  let [sum, lowest, place] = [0, 0, 0]
  values.forEach((value, at) => {
    sum += (value - (usual + mean) / 2) * away
    if (sum < lowest) [lowest, place] = [sum, at + 1]
  })
  return Math.min(place, values.length - 1)
}
