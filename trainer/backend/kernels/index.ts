/** Every kernel of the backend, by the name that tfjs gives it. */
import { elementwise } from './elementwise.js'
import type { KernelTable } from './kernel.js'
import { products } from './matmul.js'
import { reductions } from './reduce.js'
import { shapes } from './shape.js'

export const kernels: KernelTable = { ...elementwise, ...reductions, ...shapes, ...products }
