/**
 * What the page on the box costs to open: `npm run bench:page [-- --loads 9] [--json]`.
 *
 * The built daemon, Chromium without a cache, on the same machine: bytes on the wire until the page can be used, and milliseconds from the
 * navigation until the first camera is shown with its state.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { tabled } from './bench/table.js'
import { openBrowser } from './browser.js'
import { freePort } from './free-port.js'
import { Box } from './site/box.js'

const { values } = parseArgs({ options: { loads: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } } })
const folder = await mkdtemp(join(tmpdir(), 'pawl-bench-page-'))
const port = await freePort()
const box = await Box.in(folder, { dashboard: { port }, labels: { import: '', importValidation: '' } })
const daemon = box.start()
const browser = await openBrowser()
try {
  await daemon.said(/^camera belt is online/)
  const loads: { ms: number; bytes: number }[] = []
  for (let load = 0; load < Number(values.loads); load++) {
    const context = await browser.newContext()
    const page = await context.newPage()
    let bytes = 0
    page.on('response', response => {
      if (response.url().includes('/api/')) return
      void response.request().sizes().then(({ responseBodySize, responseHeadersSize }) => { bytes += responseBodySize + responseHeadersSize })
    })
    const beganMs = performance.now()
    await page.goto(`http://127.0.0.1:${String(port)}/`)
    await page.getByText('pictures a second').first().waitFor()
    loads.push({ ms: performance.now() - beganMs, bytes })
    await context.close()
  }
  const middle = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN
  const result = {
    loads: loads.length, medianMs: Math.round(middle(loads.map(({ ms }) => ms))), longestMs: Math.round(Math.max(...loads.map(({ ms }) => ms))),
    bytes: Math.max(...loads.map(({ bytes }) => bytes)),
  }
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : `${tabled([result]).join('\n')}\n`)
} finally {
  await browser.close()
  await daemon.end()
  await box.close()
  await rm(folder, { recursive: true, force: true })
}
