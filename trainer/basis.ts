/** Few numbers for many: the directions in which the pictures of a site differ most. */
import { availableParallelism } from 'node:os'
import { CholeskyDecomposition, EigenvalueDecomposition, inverse, Matrix } from 'ml-matrix'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { deviationsOf, meansOf } from './columns.js'
import { Random } from './data/random.js'
import type { Turns } from './turns.js'

/** Times that the columns are turned towards the strongest directions, and how many are turned for each that is kept. */
const [rounds, oversampling] = [4, 2]
/** Each direction is divided by so much of its variance, as an exponent: 0 leaves them as they are, 1/2 makes all alike. */
const whitening = 1 / 4
/** Share of the mean deviation that is added to each: features that next to no picture has stay faint. */
const steady = 0.1

/**
 * The `length` strongest principal components of the features of `count` images [n, F], flat, each feature at unit variance and each component
 * half whitened, as columns [F, length], flat; for rows as they are. By subspace iteration (Halko, Martinsson & Tropp, 2011, section 4.5).
 * Needs twice as many rows as columns. Errors: what its turns raise.
 */
export async function basisOf(
  features: Float32Array, { count, length, seed, turns }: { count: number; length: number; seed: number; turns: Turns },
): Promise<Float32Array> {
  await useEngine(embedded)
  const width = features.length / count
  const [means, raw] = [meansOf(features, width), deviationsOf(features, width)]
  const least = (steady * raw.reduce((sum, value) => sum + value, 0)) / width
  const deviations = raw.map(value => Math.max(value + least, 1e-12))
  const scaled = features.map((value, index) => {
    const feature = index % width
    return (value - (means[feature] ?? 0)) / (deviations[feature] ?? 1)
  })
  const rows = tf.tensor2d(scaled, [count, width])
  await using turn = jit<[tf.Tensor2D], tf.Tensor2D>(
    columns => tf.matMul(rows, tf.matMul(rows, columns), true, false), { name: 'basis', threads: availableParallelism() })
  const random = Random.of(seed, 7)
  const turning = oversampling * length
  let columns = orthonormal(Float32Array.from({ length: width * turning }, () => random.normal()), turning)
  let turned = columns
  for (let round = 0; round <= rounds; round++) {
    await turns.next()
    if (round > 0) columns = orthonormal(turned, turning)
    const given = tf.tensor2d(columns, [width, turning])
    const products = await turn(given)
    turned = await products.data<'float32'>()
    tf.dispose([given, products])
  }
  rows.dispose()
  return components({ columns, turned, count, length }).map((value, index) => value / (deviations[Math.floor(index / length)] ?? 1))
}

/** The strongest directions within the span of orthonormal columns [F, m] (Rayleigh and Ritz), from these and what turning makes of them. */
function components(
  { columns, turned, count, length }: { columns: Float32Array; turned: Float32Array; count: number; length: number },
): Float32Array {
  const turning = oversampling * length
  const rowsOf = (flat: Float32Array) => Array.from({ length: flat.length / turning }, (_, row) => flat.subarray(row * turning, (row + 1) * turning))
  const [own, other] = [rowsOf(columns), rowsOf(turned)]
  const products = Array.from({ length: turning }, () => new Float64Array(turning))
  own.forEach((line, row) => {
    const turnedLine = other[row] ?? line
    line.forEach((value, one) => {
      const into = products[one]
      for (let two = 0; two < turning && into; two++) into[two] = (into[two] ?? 0) + value * (turnedLine[two] ?? 0)
    })
  })
  const covariance = new Matrix(products.map(line => Array.from(line))).div(count)
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(covariance.add(covariance.transpose()).div(2), { assumeSymmetric: true })
  const strongest = realEigenvalues.map((_, at) => at).sort((a, b) => (realEigenvalues[b] ?? 0) - (realEigenvalues[a] ?? 0)).slice(0, length)
  const turns = strongest.map(at => {
    const scale = Math.max(realEigenvalues[at] ?? 0, 1e-12) ** -whitening
    return eigenvectorMatrix.getColumn(at).map(value => value * scale)
  })
  const result = new Float32Array(own.length * length)
  own.forEach((line, row) => {
    turns.forEach((turn, column) => { result[row * length + column] = turn.reduce((sum, value, at) => sum + value * (line[at] ?? 0), 0) })
  })
  return result
}

/** Columns [F, length], flat, that span the same and are orthonormal, by the Cholesky factor of their products. */
function orthonormal(columns: Float32Array, length: number): Float32Array {
  const rows = Array.from({ length: columns.length / length }, (_, row) => columns.subarray(row * length, (row + 1) * length))
  const products = Array.from({ length }, () => new Float64Array(length))
  for (const row of rows) {
    row.forEach((value, one) => {
      const into = products[one]
      for (let other = 0; other <= one && into; other++) into[other] = (into[other] ?? 0) + value * (row[other] ?? 0)
    })
  }
  const gram = new Matrix(products.map((line, one) => Array.from(line, (value, other) => (other <= one ? value : products[other]?.[one] ?? 0))))
  const jitter = (1e-9 * gram.trace()) / length + 1e-30
  const factor = new CholeskyDecomposition(gram.add(Matrix.eye(length).mul(jitter))).lowerTriangularMatrix
  const back = inverse(factor).to2DArray() // Q = Y L⁻ᵀ
  const result = new Float32Array(columns.length)
  rows.forEach((row, at) => {
    back.forEach((line, column) => {
      let sum = 0
      for (let other = 0; other <= column; other++) sum += (line[other] ?? 0) * (row[other] ?? 0)
      result[at * length + column] = sum
    })
  })
  return result
}
