/** The page of a fleet, as a person uses it: in Chromium, over a real broker. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { hashOf } from '../agent/web/access.js'
import { openBrowser, violationsOn } from './browser.js'
import { serve, simulate } from './fleet/fleet.js'
import type { Simulation } from './fleet/simulate.js'
import { Mosquitto, mosquitto } from './site/mosquitto.js'

const present = existsSync('/usr/bin/chromium')
if (!present && process.env.CI) throw new Error('chromium is missing; in CI these tests may not be skipped')
const waiting = { timeout: 60_000, interval: 50 }
const [desktop, phone] = [{ viewport: { width: 1360, height: 800 } }, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }]
const boxes = 400
let folder = ''
let url = ''
let broker: Mosquitto
let browser: Browser
let simulation: Simulation
const ends: (() => Promise<unknown>)[] = []
/** What a page logged as an error, or asked of another host. */
const troubles: string[] = []

beforeAll(async () => {
  if (!mosquitto || !present) return
  folder = await mkdtemp(join(tmpdir(), 'pawl-fleet-page-'))
  broker = await Mosquitto.in(folder)
  await broker.start()
  simulation = await simulate(broker.url, boxes)
  const served = await serve({ folder, broker: broker.url, answerSeconds: 2 })
  url = served.url
  browser = await openBrowser()
  ends.push(() => broker.stop('SIGKILL'), () => simulation.stop(), () => served.fleet.stop(), () => browser.close())
})

afterAll(async () => {
  for (const end of ends.reverse()) await end()
  if (folder) await rm(folder, { recursive: true, force: true })
})

const open: Page[] = []
afterEach(async () => {
  for (const page of open.splice(0)) await page.context().close()
  expect(troubles.splice(0)).toEqual([])
})

async function visit(hash = '', options: BrowserContextOptions = desktop): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage()
  open.push(page)
  page.on('pageerror', error => { troubles.push(error.message) })
  page.on('console', message => { if (message.type() === 'error') troubles.push(message.text()) })
  page.on('request', request => { if (!request.url().startsWith(url)) troubles.push(request.url()) })
  await page.goto(`${url}/${hash}`)
  await page.waitForSelector('[data-row]')
  return page
}

const shown = (page: Page) => page.locator('[data-row]').allTextContents()
const has = async (page: Page, text: string | RegExp) => { await page.getByText(text).first().waitFor() }

describe.skipIf(!mosquitto || !present)('the page of a fleet', () => {
  it('shows the rows that can be seen of all there are, and the others as they are scrolled to', async () => {
    const page = await visit()
    await has(page, `${String(boxes)} boxes`)
    expect(await page.getByRole('table', { name: 'Boxes' }).getAttribute('aria-rowcount')).toBe(String(boxes + 1))
    expect((await shown(page)).length).toBeLessThan(60)
    expect((await shown(page))[0]).toBe('box-00001')
    await page.evaluate('document.querySelector(".boxes").scrollTop = 1e6')
    await has(page, 'box-00400')
    expect(await page.locator('[role=row]', { hasText: 'box-00400' }).getAttribute('aria-rowindex')).toBe('401')
    expect((await shown(page)).length).toBeLessThan(60)
  })

  it('keeps and orders rows by search, filter and column, which stand in the address', async () => {
    const page = await visit()
    await page.getByRole('searchbox', { name: 'Search boxes' }).fill('box-0012')
    await has(page, '10 of 400 boxes')
    await page.getByRole('searchbox').fill('')
    simulation.boxes[200]?.setOnline(false)
    simulation.boxes[300]?.setOnline(false)
    const filter = page.getByRole('button', { name: /^offline/ })
    await vi.waitFor(async () => { expect(await filter.textContent()).toBe('offline 2') }, waiting)
    await filter.click()
    await vi.waitFor(async () => { expect(await shown(page)).toEqual(['box-00201', 'box-00301']) }, waiting)
    expect(await filter.getAttribute('aria-pressed')).toBe('true')
    const header = page.getByRole('columnheader', { name: 'Box', exact: true })
    await header.getByRole('button').click()
    await vi.waitFor(async () => { expect(await shown(page)).toEqual(['box-00301', 'box-00201']) }, waiting)
    expect(await header.getAttribute('aria-sort')).toBe('descending')
    await vi.waitFor(() => { expect(page.url()).toMatch(/#filter=offline&sort=-device$/) }, waiting)
    const again = await visit(new URL(page.url()).hash)
    await vi.waitFor(async () => { expect(await shown(again)).toEqual(['box-00301', 'box-00201']) }, waiting)
    await filter.click()
    await page.getByRole('columnheader', { name: 'Accuracy' }).getByRole('button').click()
    await vi.waitFor(async () => {
      const accuracies = await page.locator('.shown .of-accuracy').allTextContents()
      const numbers = accuracies.filter(text => text !== '').map(parseFloat)
      expect(numbers.length).toBeGreaterThan(10)
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    }, waiting)
    for (const index of [200, 300]) simulation.boxes[index]?.setOnline(true)
  })

  it('shows a change as it comes, without moving what is looked at', async () => {
    const page = await visit('#search=box-00005')
    await page.getByText('offline', { exact: true }).waitFor({ state: 'detached' })
    simulation.boxes[4]?.setOnline(false)
    await page.locator('.of-state', { hasText: 'offline' }).waitFor()
    simulation.boxes[4]?.setOnline(true)
    await page.locator('.of-state', { hasText: 'offline' }).waitFor({ state: 'detached' })
  })

  it('is gone through by keyboard alone: from box to box, into one, and back', async () => {
    const page = await visit()
    await page.locator('[data-row="0"]').focus()
    for (let count = 0; count < 35; count++) await page.keyboard.press('ArrowDown')
    const focused = () => page.evaluate<string>('document.activeElement.textContent')
    await vi.waitFor(async () => { expect(await focused()).toBe('box-00036') }, waiting)
    await page.keyboard.press('End')
    await vi.waitFor(async () => { expect(await focused()).toBe('box-00400') }, waiting)
    await page.keyboard.press('Home')
    await vi.waitFor(async () => { expect(await focused()).toBe('box-00001') }, waiting)
    await page.keyboard.press('Enter')
    await page.getByRole('dialog', { name: 'box-00001' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await vi.waitFor(() => { expect(page.url()).not.toContain('box=') }, waiting)
  })

  it('opens a box with all that it says, as text whatever it says', async () => {
    const hostile = '<img src=x onerror=alert(1)> 💥 ' + 'x'.repeat(300)
    const page = await visit('#search=box-00010')
    const health = JSON.parse((await (await fetch(`${url}/api/boxes/box-00010`)).json() as { retained: Record<string, string> }).retained.health ?? '') as object
    await simulation.say('box-00010', 'health', JSON.stringify({ ...health, state: 'degraded', wrong: [hostile] }))
    await page.getByRole('link', { name: 'box-00010' }).click()
    const dialog = page.getByRole('dialog', { name: 'box-00010' })
    await dialog.getByRole('listitem').filter({ hasText: hostile }).waitFor()
    expect(await page.locator('img').count()).toBe(0)
    await dialog.getByText('cam-2').first().waitFor()
    await dialog.getByText(/^Round \d+/).click()
    await dialog.getByText('By class').waitFor()
    await dialog.getByText('As it stands at the broker').click()
    await dialog.getByText('"camerasOnline"').waitFor()
    expect(await violationsOn(page)).toEqual([])
    await page.goBack()
    await dialog.waitFor({ state: 'detached' })
    await page.goto(`${url}/#box=nobody`)
    await has(page, 'The broker knows no box of this name')
  })

  it('asks before a command goes to many, and tells what each answers', async () => {
    simulation.silence('box-00111')
    simulation.boxes[111]?.setOnline(false)
    const page = await visit('#search=box-0011')
    await page.locator('.of-state', { hasText: 'offline' }).waitFor()
    expect(await page.getByRole('button', { name: 'Command …' }).isDisabled()).toBe(true)
    await page.getByRole('checkbox', { name: 'Select all 10 boxes shown' }).check()
    await page.getByRole('checkbox', { name: 'Select box-00119' }).uncheck()
    await page.getByRole('button', { name: 'Command …' }).click()
    const dialog = page.getByRole('dialog', { name: 'Command' })
    await dialog.getByLabel('Command', { exact: true }).selectOption('pause')
    await dialog.getByText('pause goes to 8 boxes; 1 is offline and will not be asked').waitFor()
    expect(await dialog.getByRole('list').getByRole('listitem').count()).toBe(9)
    expect(await violationsOn(page)).toEqual([])
    await dialog.getByRole('button', { name: 'Send to 8 boxes' }).click()
    await dialog.getByText('pause: all is known').waitFor()
    await dialog.getByText('1 no answer within 2 s · 1 offline, not asked · 7 ok').waitFor()
    await dialog.getByRole('row', { name: 'box-00110' }).waitFor()
    const told = await dialog.getByRole('row').allTextContents()
    expect(told).toEqual(expect.arrayContaining(['box-00111no answer within 2 s', 'box-00112offline, not asked', 'box-00110ok {"mode":{"kind":"pause"}}']))
    expect(await violationsOn(page)).toEqual([])
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.locator('.of-model', { hasText: 'paused' }).first().waitFor()
    await page.getByRole('button', { name: 'Select none' }).click()
    simulation.boxes[111]?.setOnline(true)
  })

  it.each([['a desk', desktop], ['a phone', phone]])('can be used by everyone on %s, light and dark', async (_, options) => {
    const page = await visit('', options)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      expect(await violationsOn(page)).toEqual([])
      // Nothing is wider than the screen.
      expect(await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth')).toBeLessThanOrEqual(0)
    }
  })

  it('on a phone sorts, selects and opens without the heads of columns', async () => {
    const page = await visit('', phone)
    await page.getByLabel('Sort by').selectOption('-device')
    await vi.waitFor(async () => { expect((await shown(page))[0]).toBe('box-00400') }, waiting)
    await page.getByRole('button', { name: 'Select all' }).tap()
    await has(page, '400 boxes, 400 selected')
    await page.getByRole('link', { name: 'box-00400' }).tap()
    await page.getByRole('dialog', { name: 'box-00400' }).waitFor()
  })

  it('comes back by itself when its server does, and asks for the password where there is one', async () => {
    const passwordFile = join(folder, 'password')
    await writeFile(passwordFile, await hashOf('open sesame'))
    const first = await serve({ folder, broker: broker.url, passwordFile })
    const page = await (await browser.newContext(desktop)).newPage()
    open.push(page)
    await page.goto(first.url)
    await page.getByLabel('Password of this fleet').fill('wrong password')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('alert').filter({ hasText: 'the password is wrong' }).waitFor()
    expect(await violationsOn(page)).toEqual([])
    await page.getByLabel('Password of this fleet').fill('open sesame')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.waitForSelector('[data-row]')
    await has(page, 'live')
    await first.fleet.stop()
    await page.getByText(/no connection to the server|no answer/).waitFor()
    const second = await serve({ folder, broker: broker.url, passwordFile, port: Number(new URL(first.url).port) })
    await page.getByLabel('Password of this fleet').fill('open sesame')
    await page.getByRole('button', { name: 'Log in' }).click()
    await has(page, 'live')
    await second.fleet.stop()
  })
})
