/** The columns of matrices [n, width], flat. */

export function meansOf(rows: Float32Array, width: number): Float64Array {
  return summed(rows, width, value => value).map(sum => (sum * width) / rows.length)
}

export function deviationsOf(rows: Float32Array, width: number): Float64Array {
  const means = meansOf(rows, width)
  return summed(rows, width, (value, column) => (value - (means[column] ?? 0)) ** 2).map(sum => Math.sqrt((sum * width) / rows.length))
}

/** Matrices of `rows` rows, side by side. */
export function beside(matrices: readonly Float32Array[], rows: number): Float32Array {
  const all = new Float32Array(matrices.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (let row = 0; row < rows; row++) {
    for (const matrix of matrices) {
      const width = matrix.length / rows
      all.set(matrix.subarray(row * width, (row + 1) * width), at)
      at += width
    }
  }
  return all
}

/** The columns from `from` to before `to` of a matrix of `rows` rows. */
export function columnsOf(matrix: Float32Array, rows: number, from: number, to = matrix.length / rows): Float32Array {
  const [width, kept] = [matrix.length / rows, to - from]
  const part = new Float32Array(rows * kept)
  for (let row = 0; row < rows; row++) part.set(matrix.subarray(row * width + from, row * width + to), row * kept)
  return part
}

function summed(rows: Float32Array, width: number, term: (value: number, column: number) => number): Float64Array {
  const sums = new Float64Array(width)
  rows.forEach((value, index) => {
    const column = index % width
    sums[column] = (sums[column] ?? 0) + term(value, column)
  })
  return sums
}
