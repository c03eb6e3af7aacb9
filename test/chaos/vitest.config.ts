import { defineConfig } from 'vitest/config'
import whole from '../../vitest.config.js'

/** The chaos suite with what takes minutes. */
export default defineConfig({ ...whole, test: { ...whole.test, include: ['test/chaos/*.slow.ts', 'test/chaos/*.test.ts'] } })
