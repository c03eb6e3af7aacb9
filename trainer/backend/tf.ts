/**
 * tfjs-core with its gradients, the one way that the trainer imports it.
 *
 * The package's entry does not register gradients, and the file that does cannot be imported by Node as it is (an ES module without file
 * endings): the build bundles it. The bundle's own copy of the operations shares engine and registry with the entry, which
 * keeps them on the global object; the entry comes first, so that its engine is the one.
 */
export * from '@tensorflow/tfjs-core'
import '#tfjs-core-gradients'
