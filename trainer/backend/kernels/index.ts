/** Every kernel of the backend, by the name that tfjs gives it. */
import { convolutions } from './convolution.js'
import { elementwise } from './elementwise.js'
import { fusions } from './fused.js'
import { images } from './image.js'
import type { KernelTable } from './kernel.js'
import { products } from './matmul.js'
import { normalisations } from './normalise.js'
import { pools } from './pool.js'
import { draws } from './random.js'
import { rearrangements } from './rearrange.js'
import { reductions } from './reduce.js'
import { samples } from './sample.js'
import { scatters } from './scatter.js'
import { shapes } from './shape.js'

export const kernels: KernelTable = {
  ...elementwise, ...reductions, ...shapes, ...products, ...convolutions, ...pools, ...fusions,
  ...images, ...samples, ...normalisations, ...scatters, ...rearrangements, ...draws,
}
