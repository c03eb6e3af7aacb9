import fc from 'fast-check'
import { expect, it } from 'vitest'
import { beside, columnsOf, deviationsOf, meansOf } from '../trainer/columns.js'

it('columns put side by side are the same columns again', () => {
  const widths = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 })
  fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), widths, (rows, lengths) => {
    const matrices = lengths.map((width, which) => Float32Array.from({ length: rows * width }, (_, index) => 100 * which + index))
    const all = beside(matrices, rows)
    let from = 0
    for (const [which, width] of lengths.entries()) expect(columnsOf(all, rows, from, from += width)).toEqual(matrices[which])
  }))
})

it('mean and deviation are those of each column', () => {
  const rows = Float32Array.of(1, 10, 3, 10, 5, 10)
  expect([[...meansOf(rows, 2)], [...deviationsOf(rows, 2)]]).toEqual([[3, 10], [Math.sqrt(8 / 3), 0]])
})
