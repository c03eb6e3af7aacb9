/** The page of a fleet: a table of all boxes, one of them opened, a command to many. */
import { render } from 'preact'
import { useEffect, useMemo, useState } from 'preact/hooks'
import { Session } from '../../dashboard/page/session.js'
import { columnNames, columns, filterNames, filters, viewed, type ColumnName, type Row, type View } from '../row.js'
import { addressOf, usePlace } from './address.js'
import { fleetFacts, type FleetFacts } from './api.js'
import { AskDialog, type Chosen } from './ask.js'
import { BoxDialog } from './box.js'
import { useBoxes, type Known } from './boxes.js'
import { Table } from './table.js'

function Page({ facts }: { facts: FleetFacts }) {
  const known = useBoxes()
  const [{ view, box }, go] = usePlace()
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set())
  const [asked, setAsked] = useState<readonly Chosen[] | null>(null)
  const rows = known.rows ?? []
  const shown = useMemo(() => viewed(rows, view), [known.rows, view])
  const byName = useMemo(() => new Map(rows.map(row => [row.device, row])), [known.rows])
  const chosen = useMemo(() => rows.filter(({ device }) => selected.has(device)), [known.rows, selected])
  const opened = box === null ? null : byName.get(box) ?? null
  useEffect(() => { document.title = box === null ? 'pawl fleet' : `${box} · pawl fleet` }, [box])
  const select = (devices: readonly string[], on: boolean) => {
    setSelected(before => new Set(on ? [...before, ...devices] : [...before].filter(device => !devices.includes(device))))
  }
  const command = (to: readonly Row[]) => { setAsked(to.map(({ device, online }) => ({ device, online: online === true }))) }
  const sort = (by: ColumnName, descending: boolean) => { go({ view: { ...view, sort: by, descending } }, true) }
  return <>
    <header>
      <a class="brand" href="#">pawl fleet</a>
      <span class="faint">{facts.base}</span>
      <Connection known={known} />
    </header>
    <main id="main" class="fleet">
      <h1 class="unseen">Boxes</h1>
      <div class="row tools">
        <input type="search" aria-label="Search boxes" placeholder="Search: name, version, what is wrong" value={view.search} onInput={event => { go({ view: { ...view, search: event.currentTarget.value } }, true) }} />
        <div class="filters" role="group" aria-label="Only boxes that are">
          {filterNames.map(name => {
            const on = view.filters.includes(name)
            return <button type="button" key={name} aria-pressed={on} onClick={() => { go({ view: { ...view, filters: on ? view.filters.filter(other => other !== name) : [...view.filters, name] } }) }}>
              {filters[name].title} <span class="count">{rows.filter(filters[name].keeps).length.toLocaleString()}</span></button>
          })}
        </div>
        <SortChoice view={view} onSort={sort} />
      </div>
      <div class="row tools">
        <p role="status">{counts(known, shown.length, chosen.length)}</p>
        {chosen.length === 0 && <button type="button" class="narrow" disabled={shown.length === 0} onClick={() => { select(shown.map(({ device }) => device), true) }}>Select all</button>}
        {chosen.length > 0 && <button type="button" onClick={() => { setSelected(new Set()) }}>Select none</button>}
        <button type="button" class="main" disabled={chosen.length === 0} onClick={() => { command(chosen) }}>Command …</button>
      </div>
      <Table rows={shown} view={view} selected={selected} onSort={sort} onSelect={select} addressOf={device => addressOf({ view, box: device })} />
    </main>
    {box !== null && known.rows && <BoxDialog key={box} device={box} row={opened}
      onClose={() => { go({ box: null }) }} onCommand={() => { command(opened ? [opened] : []) }} />}
    {asked && <AskDialog chosen={asked} facts={facts} onClose={() => { setAsked(null) }} />}
  </>
}

/** Where there is no room for the heads of columns. */
function SortChoice({ view: { sort, descending }, onSort }: { view: View; onSort: (sort: ColumnName, descending: boolean) => void }) {
  const choose = (value: string) => { onSort(value.replace('-', '') as ColumnName, value.startsWith('-')) }
  return <label class="sort">Sort by <select value={`${descending ? '-' : ''}${sort}`} onChange={event => { choose(event.currentTarget.value) }}>
    {columnNames.flatMap(name => [
      <option key={name} value={name}>{columns[name].title} ↑</option>,
      <option key={`-${name}`} value={`-${name}`}>{columns[name].title} ↓</option>,
    ])}
  </select></label>
}

function Connection({ known: { live, broker, problem } }: { known: Known }) {
  const text = problem || (!live ? 'no connection to the server' : broker === null ? 'connecting to the broker' : !broker.up ? `broker away: ${broker.reason}; this is how it was` : broker.problem || (broker.settled ? 'live' : 'reading what the boxes say'))
  return <span class={live && broker?.up && broker.problem === '' ? 'link up' : 'link'} role="status">{text}</span>
}

function counts({ rows, broker }: Known, shown: number, selected: number): string {
  if (!rows) return 'Loading …'
  if (rows.length === 0) return broker?.up && broker.settled ? 'No box reports to this broker below this base.' : 'No box is known yet.'
  return `${shown === rows.length ? '' : `${shown.toLocaleString()} of `}${rows.length.toLocaleString()} ${rows.length === 1 ? 'box' : 'boxes'}${selected > 0 ? `, ${selected.toLocaleString()} selected` : ''}`
}

render(<Session whose="this fleet" ask={fleetFacts}>{facts => <Page facts={facts} />}</Session>, document.body)
