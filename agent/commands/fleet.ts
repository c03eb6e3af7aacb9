/** All boxes of a broker: a page, a table in the terminal, or a look that ends. */
import { PawlError } from '../errors.js'
import { fleetConfig, type FleetConfig, type FleetGiven } from '../fleet/config.js'
import { Fleet } from '../fleet/fleet.js'
import { viewed, type View } from '../fleet/row.js'
import { Screen } from '../fleet/screen.js'
import { fleetTable, summary } from '../fleet/terminal.js'
import type { BrokerState } from '../fleet/watch.js'
import { systemClock } from '../lib/clock.js'
import { createLogger, visible } from '../lib/logger.js'
import { print, type OutputOptions } from './output.js'

export interface FleetCommandOptions extends FleetGiven, OutputOptions {
  once?: boolean
  terminal?: boolean
  filter: View['filters']
  search: string
  sort: View['sort']
  descending: boolean
  /** Seconds. */
  wait: number
}

export async function fleet(options: FleetCommandOptions, signal: AbortSignal): Promise<void> {
  const { stdin, stdout } = process
  if (options.terminal && !stdout.isTTY) throw new PawlError('COMMAND_INVALID', 'there is no terminal to draw on; `pawl fleet --once` prints the table')
  const config = await fleetConfig(options)
  const view: View = { search: options.search, filters: options.filter, sort: options.sort, descending: options.descending }
  const colours = stdout.isTTY && !process.env.NO_COLOR
  if (options.once) {
    await following(config, 'error', async (all, heard) => { await once({ all, heard, view, options, colours, signal }) })
  } else if (options.terminal) {
    await following(config, 'error', async all => { await new Screen({ fleet: all, view, input: stdin, output: stdout, colours }).run(signal) })
  } else {
    await following(config, 'warn', async (all, heard) => {
      await serve(all, config, options)
      heard.onNext(tell)
      await aborted(signal)
    })
  }
}

/** The state of the broker as it was heard last. */
class Heard {
  newest: BrokerState | null = null
  private listener: (state: BrokerState) => void = () => undefined

  accept(state: BrokerState): void {
    this.newest = state
    this.listener(state)
  }

  /** One listener, which hears the newest at once. */
  onNext(listener: (state: BrokerState) => void): void {
    this.listener = listener
    if (this.newest) listener(this.newest)
  }
}

/** `level`: a terminal that is drawn on takes no lines beside, and a look needs no answers. */
async function following(config: FleetConfig, level: 'warn' | 'error', work: (all: Fleet, heard: Heard) => Promise<void>): Promise<void> {
  const heard = new Heard()
  const logger = createLogger({ level })
  const all = new Fleet({ config, clock: systemClock, random: Math.random, logger, onBroker: state => { heard.accept(state) } })
  all.start()
  try {
    await work(all, heard)
  } finally {
    heard.onNext(() => undefined)
    await all.stop()
  }
}

interface Once {
  all: Fleet
  heard: Heard
  view: View
  options: FleetCommandOptions
  colours: boolean
  signal: AbortSignal
}

/** Errors: BROKER_UNAVAILABLE when not all had come in time, or the broker lets this user not in. */
async function once({ all, heard, view, options, colours, signal }: Once): Promise<void> {
  const settled = new Promise<boolean>(resolve => {
    heard.onNext(state => {
      if (state.up && state.settled) resolve(true)
      // More time would not help.
      if (!state.up && state.turnedAway) resolve(false)
    })
  })
  const late = AbortSignal.any([AbortSignal.timeout(options.wait * 1000), signal])
  if (!await Promise.race([settled, aborted(late).then(() => false)])) {
    const { newest } = heard
    if (newest?.up === false && newest.turnedAway) throw new PawlError('BROKER_UNAVAILABLE', `${newest.url}: ${newest.reason}`)
    const why = (newest?.up === false ? newest.reason : newest?.problem ?? '') || 'what is retained has not come whole'
    throw new PawlError('BROKER_UNAVAILABLE', `${newest?.url ?? 'the broker'}: ${why}, within ${String(options.wait)} s; check --broker or the key mqtt.broker, or give it more with --wait`)
  }
  const rows = viewed(all.changes.rows(), view)
  const width = process.stdout.isTTY ? process.stdout.columns : Infinity
  print(options, { broker: heard.newest?.url, boxes: rows, passedOver: all.boxes.passedOver }, [summary(all.changes.rows(), rows.length)])
  if (!options.json) process.stdout.write(fleetTable(rows, view, { width, colours }).map(line => `${line}\n`).join(''))
}

async function serve(all: Fleet, { dashboard: { port, address } }: FleetConfig, options: OutputOptions): Promise<void> {
  const url = await all.serve()
  if (url === null) throw new PawlError('DASHBOARD_UNAVAILABLE', `no port from ${String(port)} on is free on ${address}; choose another with --port`)
  print(options, { page: url, metrics: `${url}/metrics` }, [`page: ${url}`, `numbers for Prometheus: ${url}/metrics`, 'Ctrl-C ends it'])
}

function tell(state: BrokerState): void {
  const how = !state.up ? `away, and tried again (${state.reason})` : state.problem !== '' ? `${state.problem}; tried again` : state.settled ? 'all boxes are known' : 'connected'
  process.stderr.write(`${visible(`broker ${state.url}: ${how}`)}\n`)
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise<void>(resolve => { signal.addEventListener('abort', () => { resolve() }, { once: true }) })
}
