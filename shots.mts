import { chromium } from 'playwright-core'
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
const dark = process.argv[2] === 'dark'
const phone = process.argv[2] === 'phone'
const page = await browser.newPage({ viewport: phone ? { width: 390, height: 800 } : { width: 1200, height: 900 }, colorScheme: dark ? 'dark' : 'light' })
page.on('console', m => console.log('console', m.type(), m.text()))
page.on('pageerror', e => console.log('error', e.message))
for (const view of ['live', 'label', 'learning', 'models', 'health']) {
  await page.goto(`http://127.0.0.1:8470/#${view}`)
  await page.waitForTimeout(view === 'live' ? 5000 : 2500)
  await page.screenshot({ path: `/tmp/shot-${process.argv[2] ?? 'light'}-${view}.png` })
}
await browser.close()
