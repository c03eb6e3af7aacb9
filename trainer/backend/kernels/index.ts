/** Every kernel of the backend, by the name that tfjs gives it. */
import { convolutions } from './convolution.js'
import { elementwise } from './elementwise.js'
import { fusions } from './fused.js'
import type { KernelTable } from './kernel.js'
import { products } from './matmul.js'
import { pools } from './pool.js'
import { reductions } from './reduce.js'
import { shapes } from './shape.js'

export const kernels: KernelTable = {
  ...elementwise, ...reductions, ...shapes, ...products, ...convolutions, ...pools, ...fusions,
}
