/** A reporter in a process of its own, for tests that kill it: node report-child.ts URL FOLDER [OPTIONS as JSON]. */
import { makeReporter, type Given } from './reporting.js'

const [, , url = '', folder = '', options = '{}'] = process.argv
await makeReporter(url, folder, JSON.parse(options) as Given).start()
