/** Statistics of the columns of a matrix [n, width], flat. */

export function meansOf(rows: Float32Array, width: number): Float64Array {
  return summed(rows, width, value => value).map(sum => (sum * width) / rows.length)
}

export function deviationsOf(rows: Float32Array, width: number): Float64Array {
  const means = meansOf(rows, width)
  return summed(rows, width, (value, column) => (value - (means[column] ?? 0)) ** 2).map(sum => Math.sqrt((sum * width) / rows.length))
}

function summed(rows: Float32Array, width: number, term: (value: number, column: number) => number): Float64Array {
  const sums = new Float64Array(width)
  rows.forEach((value, index) => {
    const column = index % width
    sums[column] = (sums[column] ?? 0) + term(value, column)
  })
  return sums
}
