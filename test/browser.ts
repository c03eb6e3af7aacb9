/** Chromium, as people have it. */
import axe from 'axe-core'
import { chromium, type Browser, type Page } from 'playwright-core'

export interface Violation {
  id: string
  impact: string | null
  nodes: string[]
}

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
}

/** What axe finds against WCAG 2.2 AA that is serious or worse. */
export async function violationsOn(page: Page): Promise<Violation[]> {
  // By the debugger, not by the page: its policy lets no script in that is not its own.
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(axe.source)
  const { violations } = await page.evaluate(() => (globalThis as unknown as Axe).axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }))
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html }) => html) }))
}

interface Axe {
  axe: { run: (options: object) => Promise<{ violations: { id: string; impact: string | null; nodes: { html: string }[] }[] }> }
}
