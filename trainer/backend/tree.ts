/** Tensors in nested arrays and objects: what a traced function takes and gives. */
import * as tf from './tf.js'

export type TensorTree = tf.Tensor | readonly TensorTree[] | { readonly [key: string]: TensorTree }

export function leaves(tree: TensorTree): tf.Tensor[] {
  if (tree instanceof tf.Tensor) return [tree]
  return Object.values(tree).flatMap((branch: TensorTree) => leaves(branch))
}

/** Where each leaf stands, and what it is: `2.labeled` → `float32[16,49,48]`, in the order of `leaves`. */
export function pathsOf(tree: TensorTree): Map<string, string> {
  const paths = new Map<string, string>()
  const visit = (branch: TensorTree, path: string) => {
    if (branch instanceof tf.Tensor) paths.set(path, `${branch.dtype}[${branch.shape.join()}]`)
    else for (const [key, inner] of Object.entries(branch)) visit(inner as TensorTree, path ? `${path}.${key}` : key)
  }
  visit(tree, '')
  return paths
}

/** A function that puts tensors, in the order of `leaves`, into the shape of `tree`. */
export function rebuilder(tree: TensorTree): (tensors: readonly tf.Tensor[]) => TensorTree {
  return tensors => {
    let next = 0
    const build = (branch: TensorTree): TensorTree => {
      if (branch instanceof tf.Tensor) {
        const tensor = tensors[next++]
        if (!tensor) throw new Error('fewer tensors than the structure holds')
        return tensor
      }
      if (Array.isArray(branch)) return branch.map((inner: TensorTree) => build(inner))
      return Object.fromEntries(Object.entries(branch).map(([key, inner]) => [key, build(inner as TensorTree)]))
    }
    return build(tree)
  }
}
