/** The page on the box as people use it: the built daemon, Chromium, clicks and keys. Each test goes on where the one before has left the site. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import { hashOf } from '../agent/web/access.js'
import { openBrowser, violationsOn } from './browser.js'
import { freePort } from './free-port.js'
import { Box } from './site/box.js'
import type { Daemon } from './site/daemon.js'
import { copyLabels, seldom } from './site/labels.js'
import { giveModel } from './site/trained.js'

const views = ['Live', 'Label', 'Learning', 'Models', 'Health'] as const
const password = 'open sesame'
let folder = ''
let port = 0
let box: Box
let daemon: Daemon
let browser: Browser
let page: Page
/** What goes wrong in the page. */
const errors: string[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-page-'))
  port = await freePort()
  box = await Box.in(folder, { dashboard: { port }, rounds: { schedule: seldom, minutes: 0.25 }, frames: { maxBytes: 20_000_000 } })
  await giveModel(box.data)
  daemon = box.start()
  browser = await openBrowser()
  await daemon.said(/^model 1 is in service/)
  page = await newPage()
})

afterEach(() => { expect(errors.splice(0)).toEqual([]) })

afterAll(async () => {
  await browser?.close()
  await daemon?.end()
  await box?.close()
  await rm(folder, { recursive: true, force: true })
})

async function newPage(): Promise<Page> {
  const opened = await browser.newPage()
  opened.setDefaultTimeout(60_000)
  opened.on('pageerror', cause => { errors.push(cause.message) })
  // What the server refuses is told on the page, and in the browser's log with it.
  opened.on('console', message => { if (message.type() === 'error' && !/status of (401|409|422)|ERR_|EventSource/.test(message.text())) errors.push(message.text()) })
  await opened.goto(address())
  return opened
}

const address = () => `http://127.0.0.1:${String(port)}/`
const show = async (view: typeof views[number], on = page) => { await on.getByRole('link', { name: view, exact: true }).click() }
const inClass = (label: string) => readdir(join(box.data, 'labels', label)).catch(() => [])
const status = (text: RegExp | string, on = page) => on.getByText(text).first().waitFor()
const answer = () => page.locator('.answer').first().textContent()
/** The dialog that a button opens, and its button of the same name. */
const confirm = async (name: string, within: Pick<Page, 'getByRole'> = page) => {
  await within.getByRole('button', { name, exact: true }).first().click()
  await page.getByRole('dialog').getByRole('button', { name, exact: true }).click()
}

describe('the page', () => {
  it('weighs little, loads nothing from elsewhere, and keeps no script of another', async () => {
    const fresh = await browser.newPage()
    const loaded: { url: string; bytes: number }[] = []
    fresh.on('response', async response => {
      if (response.url().includes('/api/')) return
      const { responseBodySize, responseHeadersSize } = await response.request().sizes()
      loaded.push({ url: response.url(), bytes: responseBodySize + responseHeadersSize })
    })
    await fresh.goto(address())
    await fresh.getByRole('heading', { name: /^belt/ }).waitFor()
    for (const { url } of loaded) expect(url.startsWith(address())).toBe(true)
    expect(loaded.length).toBeGreaterThanOrEqual(3)
    expect(loaded.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(300_000)
    await fresh.evaluate(() => {
      const foreign = document.createElement('script')
      foreign.textContent = 'globalThis.taken = true'
      document.body.append(foreign)
    })
    expect(await fresh.evaluate(() => 'taken' in globalThis)).toBe(false)
    await fresh.close()
  })

  it.each([['light', 1280], ['dark', 1280], ['light', 390], ['dark', 390]] as const)('is for everybody: nothing serious by WCAG 2.2 AA, %s, %i pixels wide', async (colorScheme, width) => {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height: 800 })
    for (const view of views) {
      await show(view)
      await page.locator('main .card, main figure').first().waitFor()
      if (view === 'Learning' || view === 'Models') await page.locator('summary').first().click()
      if (view === 'Learning') await page.getByText('What the promotion images show').waitFor()
      expect(await violationsOn(page), view).toEqual([])
      // Nothing but what may move sideways is wider than the screen.
      expect(await page.evaluate(() => document.documentElement.scrollWidth), view).toBeLessThanOrEqual(width)
    }
    await page.setViewportSize({ width: 1280, height: 800 })
  })

  it('shows what the cameras see and the model says, as it happens', async () => {
    await show('Live')
    const picture = page.locator('.seen img').first()
    await picture.waitFor()
    const [before, said] = [await picture.getAttribute('src'), await page.locator('.said').first().textContent()]
    await expect.poll(() => picture.getAttribute('src')).not.toBe(before)
    await expect.poll(() => page.locator('.said').first().textContent()).not.toBe(said)
    // It is a picture, and those that were kept are.
    await page.waitForFunction(() => {
      const images = Array.from(document.querySelectorAll('img'))
      return images.length > 1 && images.every(image => image.complete && image.naturalWidth > 0)
    })
  })

  it('takes labels by the keyboard, many alike at once, a new class, and back again', async () => {
    await show('Label')
    await page.getByRole('button', { name: /^Yes/ }).waitFor()
    const before = { bag: (await inClass('bag')).length, boot: (await inClass('ankle-boot')).length }
    await page.keyboard.press('2')
    await status('1 frame labeled bag')
    await page.keyboard.press('1')
    await status('1 frame labeled ankle-boot')
    await expect.poll(async () => [(await inClass('bag')).length, (await inClass('ankle-boot')).length]).toEqual([before.bag + 1, before.boot + 1])
    await page.keyboard.press('u')
    await status('undone')
    await expect.poll(async () => (await inClass('ankle-boot')).length).toBe(before.boot)
    await page.keyboard.press('s')
    await status('1 frame passed over')
    const suggested = /taken for (\S+)/.exec(await answer() ?? '')?.[1] ?? ''
    await page.keyboard.press('Enter')
    await status(`1 frame labeled ${suggested}`)
    await page.keyboard.press('n')
    await page.keyboard.type('Kiste 🧺/')
    await page.keyboard.press('Enter')
    await status(/1 frame: .*has a slash/)
    await page.keyboard.press('n')
    await page.keyboard.type('Kiste 🧺')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: /Kiste 🧺/ }).waitFor()
    expect(await inClass('Kiste 🧺')).toHaveLength(1)
    await page.keyboard.press('u')
    await expect.poll(() => readdir(join(box.data, 'labels'))).not.toContain('Kiste 🧺')
  })

  it('gives frames that look alike one label', async () => {
    await page.reload()
    await show('Label')
    const all = page.getByRole('button', { name: /^All/ })
    for (let tries = 0; tries < 20 && !await all.isVisible(); tries++) {
      await page.getByRole('button', { name: /^Yes/ }).waitFor()
      await page.keyboard.press('s')
    }
    const before = (await inClass('trouser')).length
    await page.keyboard.press('a')
    const marked = await page.locator('.alike input:checked').count()
    expect(marked).toBeGreaterThan(0)
    await page.keyboard.press('3')
    await expect.poll(async () => (await inClass('trouser')).length).toBe(before + 1 + marked)
    await page.keyboard.press('u')
    await expect.poll(async () => (await inClass('trouser')).length).toBe(before)
  })

  it('labels nothing that is not shown: what was marked beside a frame is not beside the next one', async () => {
    const marks = page.locator('.alike input:checked')
    // What was undone is marked as it was.
    await expect.poll(() => marks.count()).toBeGreaterThan(0)
    await page.locator('.alike h2:text("Next") + ul button').first().click()
    expect(await marks.count()).toBe(0)
    await page.keyboard.press('2')
    await status('1 frame labeled bag')
    await page.keyboard.press('u')
    await status('undone')
  })

  it('undoes what is still on its way, and twice what is asked for twice', async () => {
    const waiting = async () => Number(/([\d,]+) frames? without a label/.exec(await page.getByText('without a label').textContent() ?? '')?.[1]?.replace(',', ''))
    const [before, waited] = [(await inClass('bag')).length, await waiting()]
    await page.route(/api\/labels/, async route => {
      await new Promise(resolve => setTimeout(resolve, 400))
      await route.continue()
    })
    await page.keyboard.press('2')
    await page.keyboard.press('u')
    await status('undone')
    await page.keyboard.press('2')
    await page.keyboard.press('2')
    await expect.poll(async () => (await inClass('bag')).length).toBe(before + 2)
    await page.keyboard.press('u')
    await page.keyboard.press('u')
    await expect.poll(async () => (await inClass('bag')).length).toBe(before)
    await page.unroute(/api\/labels/)
    await expect.poll(waiting).toBeGreaterThanOrEqual(waited)
    const shown = await page.locator('.alike img, .labeling img.picture').evaluateAll(images => images.map(image => image.getAttribute('src')))
    expect(new Set(shown).size).toBe(shown.length)
  })

  it('keeps keys and what can be undone, whatever is looked at in between', async () => {
    const before = (await inClass('trouser')).length
    await page.keyboard.press('3')
    await status('1 frame labeled trouser')
    await show('Live')
    await show('Label')
    await page.reload()
    await page.getByRole('button', { name: /^Yes/ }).waitFor()
    await page.keyboard.press('u')
    await expect.poll(async () => (await inClass('trouser')).length).toBe(before)
    // A class of which there is nothing any more keeps its key as well.
    await page.keyboard.press('n')
    await page.keyboard.type('aaa')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: /aaa/ }).waitFor()
    await show('Live')
    await show('Label')
    await page.getByRole('button', { name: /^1\s*ankle-boot/ }).waitFor()
    await page.keyboard.press('u')
    await page.getByRole('button', { name: /aaa/ }).waitFor({ state: 'detached' })
  })

  it('is live again after something else has answered for the box', async () => {
    await page.route(/api\/live/, route => route.fulfill({ status: 502, body: 'bad gateway' }), { times: 1 })
    await page.reload()
    await status('no connection')
    await page.getByRole('status').getByText('live').waitFor()
    expect(errors.splice(0)).toEqual([expect.stringContaining('502')])
  })

  it('tells the second of two people who label one frame', async () => {
    const other = await newPage()
    await show('Label', other)
    await page.reload()
    await show('Label')
    const shown = async (on: Page) => on.locator('.picture').first().getAttribute('src')
    await other.locator('img.picture').waitFor()
    await page.locator('img.picture').waitFor()
    expect(await shown(other)).toBe(await shown(page))
    const before = (await inClass('bag')).length
    await page.keyboard.press('2')
    await status('1 frame labeled bag')
    await expect.poll(async () => (await inClass('bag')).length).toBe(before + 1)
    await other.keyboard.press('3')
    await status(/1 frame: this frame has been labeled "bag" meanwhile/, other)
    // To undo is of what oneself has done.
    expect(await other.getByRole('button', { name: /^Undo/ }).isDisabled()).toBe(true)
    await other.close()
  })

  it('takes folders in, with a word for what is no picture, and gives them out', async () => {
    await show('Label')
    const given = join(folder, 'more')
    await copyLabels('test', 3, given)
    await writeFile(join(given, 'bag', 'broken.png'), 'no picture')
    await writeFile(join(given, 'loose.png'), 'in no class')
    await writeFile(join(given, 'notes.txt'), 'no image')
    await page.locator('input[type=file]').setInputFiles(given)
    await status('10 images of 3 classes: ankle-boot (3), bag (4), trouser (3)')
    await page.getByRole('button', { name: 'Import 10 images' }).click()
    await status('9 new images taken, 1 refused')
    await status(/"bag\/broken.png" was not taken: it cannot be decoded/)
    const [name = ''] = (await readdir(join(bundled('test'), 'bag'))).sort()
    expect(await inClass('bag')).toContain(name)
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export all labels' }).click()])
    expect([download.suggestedFilename(), (await readFile(await download.path())).subarray(0, 2).toString()]).toEqual(['labels-box-9.zip', 'PK'])
  })

  it('has a round begin that learns from what was labeled there, and shows its evidence', async () => {
    const labels = (await Promise.all(['ankle-boot', 'bag', 'trouser'].map(inClass))).flat().length
    expect(labels).toBeGreaterThan(30)
    await show('Models')
    await confirm('Train now')
    await show('Learning')
    await page.getByRole('heading', { name: 'Round 2 runs' }).waitFor()
    const [, learned] = await daemon.said(/^round 2 \(command\): (\d+) labels/)
    expect(Number(learned)).toBe(labels)
    const round = page.locator('section', { has: page.getByRole('heading', { name: /^Round 2 (promoted|[a-z-]+)$/ }) })
    await round.waitFor({ timeout: 180_000 })
    await round.locator('summary').click()
    for (const what of ['Losses by step', 'What the promotion images show']) await round.getByText(what).first().waitFor()
    const [download] = await Promise.all([page.waitForEvent('download'), round.getByRole('link', { name: 'Report to keep' }).click()])
    expect(await readFile(await download.path(), 'utf8')).toContain('<h1>Round 2 · box-9')
  })

  it('rolls back and promotes by a click, and says which model serves', async () => {
    await show('Models')
    await page.getByRole('heading', { name: /^Model 2 / }).waitFor()
    const card = (version: number) => page.getByRole('region', { name: new RegExp(`^Model ${String(version)} `) })
    const serves = (version: number) => card(version).getByText('in service').waitFor()
    // The gate may have refused it.
    if (!await card(2).getByText('in service').isVisible()) await confirm('Promote', card(2))
    await serves(2)
    await confirm('Roll back')
    await serves(1)
    await confirm('Promote', card(2))
    await serves(2)
    await daemon.said(/^model 2 is in service/, { from: daemon.lines.findLastIndex(line => line.startsWith('model 1 is in service')) })
    const history = page.locator('details', { hasText: 'History: what was done' })
    await history.locator('summary').click()
    await history.getByRole('row').filter({ hasText: 'rolled back to model 1' }).getByText('a person asked for it on the page').waitFor()
    for (const version of [1, 2]) await card(version).getByRole('checkbox', { name: 'Compare' }).check()
    await page.getByRole('region', { name: 'Two models compared' }).getByText('right of the gate images').waitFor()
  })

  it('goes on when the agent has started anew, and tells while it is away', async () => {
    await show('Health')
    await page.getByText(/camera belt is online/).first().waitFor()
    await daemon.end()
    await status('no connection')
    daemon = box.start()
    await daemon.said(/^pawl is running/)
    await page.getByRole('status').getByText('live').waitFor()
    await page.getByText(/continuing with model 2|model 2 is in service/).first().waitFor()
  })

  it('asks for the password once there is one, and for nothing else before', async () => {
    const file = join(folder, 'password')
    await writeFile(file, `${await hashOf(password)}\n`)
    await box.configure({ dashboard: { port, passwordFile: file }, rounds: { schedule: seldom } })
    process.kill(daemon.pid, 'SIGHUP')
    const field = page.getByLabel('Password of this box')
    await field.waitFor()
    expect(await violationsOn(page)).toEqual([])
    await field.fill('open sesamE')
    await page.keyboard.press('Enter')
    await status('the password is wrong')
    await field.fill(password)
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: /^The box/ }).waitFor()
    expect((await page.context().cookies()).map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite }))).toEqual([{ name: 'pawl', httpOnly: true, sameSite: 'Strict' }])
    expect(await page.evaluate(() => document.cookie)).toBe('')
    await page.getByRole('button', { name: 'Log out' }).click()
    await field.waitFor()
  })
})
