/** The fleet in a terminal, drawn anew as it changes. */
import { emitKeypressEvents, type Key } from 'node:readline'
import { visible } from '../lib/logger.js'
import { cut } from '../lib/text-width.js'
import type { Fleet } from './fleet.js'
import { columnNames, filterNames, filters, viewed, type FilterName, type View } from './row.js'
import { fleetTable, summary } from './terminal.js'
import type { BrokerState } from './watch.js'

export interface ScreenOptions {
  fleet: Fleet
  view: View
  input: NodeJS.ReadStream
  output: NodeJS.WriteStream
  colours: boolean
}

/** Another screen without cursor and line wrap, and the way back. */
const [enter, leave] = ['\u001b[?1049h\u001b[?25l\u001b[?7l', '\u001b[?7h\u001b[?25h\u001b[?1049l']
const [home, restOfLine, restOfScreen] = ['\u001b[H', '\u001b[K', '\u001b[J']
const everyMs = 1000

export class Screen {
  private readonly options: ScreenOptions
  private view: View
  /** The first row that is drawn. */
  private first = 0

  constructor(options: ScreenOptions) {
    this.options = options
    this.view = options.view
  }

  /** Resolves when it was left, by key or by the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { input, output } = this.options
    const ending = new AbortController()
    const end = () => { ending.abort() }
    const pressed = (_: string | undefined, key: Key) => {
      if (key.name === 'q' || (key.ctrl && key.name === 'c')) end()
      else this.key(key)
      this.draw()
    }
    const draw = () => { this.draw() }
    signal.addEventListener('abort', end)
    emitKeypressEvents(input)
    if (input.isTTY) input.setRawMode(true)
    input.on('keypress', pressed).resume()
    output.on('resize', draw)
    output.write(enter)
    const timer = setInterval(draw, everyMs)
    this.draw()
    try {
      if (!signal.aborted) await new Promise(resolve => { ending.signal.addEventListener('abort', resolve) })
    } finally {
      clearInterval(timer)
      output.off('resize', draw)
      input.off('keypress', pressed).pause()
      if (input.isTTY) input.setRawMode(false)
      output.write(leave)
    }
  }

  private key({ name = '', sequence = '' }: Key): void {
    const page = Math.max(1, this.options.output.rows - 4)
    const moves: Record<string, number> = { up: -1, down: 1, pageup: -page, pagedown: page, home: -Infinity, end: Infinity }
    const filter = filterNames[Number(sequence) - 1]
    if (name in moves) this.first += moves[name] ?? 0
    else if (filter) this.view = { ...this.view, filters: toggled(this.view.filters, filter) }
    else if (name === 's') this.view = { ...this.view, sort: columnNames[(columnNames.indexOf(this.view.sort) + 1) % columnNames.length] ?? 'device' }
    else if (name === 'r') this.view = { ...this.view, descending: !this.view.descending }
  }

  private draw(): void {
    const { fleet: { changes }, output, colours } = this.options
    const { columns: width, rows: height } = output
    const all = changes.rows()
    const rows = viewed(all, this.view)
    const room = Math.max(1, height - 4)
    this.first = Math.min(Math.max(0, rows.length - room), Math.max(0, this.first))
    const lines = [
      cut(`${visible(whereOf(changes.brokerState))} · ${summary(all, rows.length)}`, width),
      ...fleetTable(rows.slice(this.first, this.first + room), this.view, { width, colours }),
    ]
    const keys = filterNames.map((name, index) => `${String(index + 1)} ${filters[name].title}${this.view.filters.includes(name) ? ' ✓' : ''}`).join('  ')
    const foot = cut(`q quit  ↑ ↓ page  s sort  r reverse  ${keys}`, width)
    output.write(`${home}${lines.map(line => `${line}${restOfLine}\n`).join('')}${restOfScreen}\u001b[${String(height)};1H${foot}${restOfLine}`)
  }
}

function whereOf(broker: BrokerState | null): string {
  if (broker === null) return 'connecting'
  if (!broker.up) return `${broker.url}: away (${broker.reason}); this is how it was`
  return `${broker.url}${broker.problem === '' ? broker.settled ? '' : ', being read' : `: ${broker.problem}`}`
}

function toggled(names: readonly FilterName[], name: FilterName): FilterName[] {
  return names.includes(name) ? names.filter(other => other !== name) : [...names, name]
}
