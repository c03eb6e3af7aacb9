import { join } from 'node:path'
import { packageRoot } from '../lib/package-root.js'

/** Where the page lies once it is built. */
export const pageFolder = join(packageRoot(), 'dist', 'agent', 'dashboard', 'page')
