/**
 * tfjs-core with its gradients, the one way that the trainer imports it.
 *
 * The package's entry does not register gradients; the file that does is an ES module without file endings in its
 * imports, which Node does not resolve by itself. The resolver below adds them, for that folder alone. Both copies
 * of tfjs-core share one engine and one registry, which tfjs keeps on the global object.
 */
import { register } from 'node:module'

const resolver = `export async function resolve(specifier, context, next) {
  const inside = context.parentURL?.includes('/@tensorflow/tfjs-core/dist/')
  if (!inside || !specifier.startsWith('.') || specifier.endsWith('.js')) return next(specifier, context)
  try { return await next(specifier + '.js', context) } catch { return next(specifier + '/index.js', context) }
}`

register('data:text/javascript,' + encodeURIComponent(resolver), import.meta.url)

const gradients = '@tensorflow/tfjs-core/dist/register_all_gradients.js'
await import(gradients)

export * from '@tensorflow/tfjs-core'
