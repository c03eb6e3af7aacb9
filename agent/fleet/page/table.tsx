/** Thousands of rows, of which those that can be seen are in the document. */
import type { ComponentChildren } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { ago, bytes } from '../../dashboard/format.js'
import { columnNames, columns, type ColumnName, type Row, type View } from '../row.js'
import { accuracyOf, camerasOf, modelOf, roundOf, stateOf, wrongOf } from '../words.js'

export interface TableProps {
  rows: readonly Row[]
  view: View
  selected: ReadonlySet<string>
  onSort: (sort: ColumnName, descending: boolean) => void
  onSelect: (devices: readonly string[], on: boolean) => void
  addressOf: (device: string) => string
}

/** Pixels, as in main.css. */
const [lowRow, highRow] = [40, 78]
const narrow = '(width < 44rem)'
/** Rows beside those that can be seen: what the Tab key reaches next. */
const beside = 8

export function Table({ rows, view, selected, onSort, onSelect, addressOf }: TableProps) {
  const scroller = useRef<HTMLDivElement>(null)
  const { top, height, rowHeight } = useScroll(scroller)
  const first = Math.max(0, Math.min(rows.length, Math.floor(top / rowHeight)) - beside)
  const shown = rows.slice(first, first + Math.ceil(height / rowHeight) + 2 * beside)
  const focus = useRowFocus(scroller, { count: rows.length, first, rowHeight })
  const allSelected = rows.length > 0 && rows.every(({ device }) => selected.has(device))
  return <div class="boxes" ref={scroller} role="table" aria-label="Boxes" aria-rowcount={rows.length + 1} aria-colcount={columnNames.length + 1}>
    <div class="head" role="rowgroup">
      <div class="box" role="row" aria-rowindex={1}>
        <div role="columnheader"><input type="checkbox" aria-label={`Select all ${String(rows.length)} boxes shown`} checked={allSelected} disabled={rows.length === 0}
          onChange={event => { onSelect(rows.map(({ device }) => device), event.currentTarget.checked) }} /></div>
        {columnNames.map(name => <div key={name} role="columnheader" class={`of-${name}`} aria-sort={name === view.sort ? (view.descending ? 'descending' : 'ascending') : 'none'}>
          <button type="button" class="bare" onClick={() => { onSort(name, name === view.sort && !view.descending) }}>
            {columns[name].title}<span aria-hidden="true">{name === view.sort ? (view.descending ? ' ↓' : ' ↑') : ''}</span>
          </button>
        </div>)}
      </div>
    </div>
    <div role="rowgroup" class="all" style={{ height: `${String(rows.length * rowHeight)}px` }} onKeyDown={focus}>
      <div class="shown" style={{ transform: `translateY(${String(first * rowHeight)}px)` }}>
        {shown.map((row, index) => <BoxRow key={row.device} row={row} index={first + index}
          selected={selected.has(row.device)} onSelect={onSelect} address={addressOf(row.device)} />)}
      </div>
    </div>
  </div>
}

interface BoxRowProps {
  row: Row
  index: number
  selected: boolean
  onSelect: TableProps['onSelect']
  address: string
}

function BoxRow({ row, index, selected, onSelect, address }: BoxRowProps) {
  const { device, round, running, drift, frames, frameBytes, version, camerasDown } = row
  const state = stateOf(row)
  return <div class={selected ? 'box selected' : 'box'} role="row" aria-rowindex={index + 2} data-device={device}>
    <div role="cell"><input type="checkbox" aria-label={`Select ${device}`} checked={selected} onChange={event => { onSelect([device], event.currentTarget.checked) }} /></div>
    <Cell name="device"><a href={address} data-row={index}>{device}</a></Cell>
    <Cell name="state"><span class={`badge ${state.tone}`}>{state.text}</span></Cell>
    <Cell name="cameras" title={camerasDown.join(', ')}>{camerasDown.length > 0 ? <span class="problem">{camerasOf(row)}</span> : camerasOf(row)}</Cell>
    <Cell name="model">{modelOf(row)}</Cell>
    <Cell name="accuracy">{accuracyOf(row)}</Cell>
    <Cell name="round" title={round ? `decided ${ago(round.decidedAtMs)}` : ''}>{running && <progress max={1} value={running.fraction} aria-label="Progress of the round" />}{roundOf(row)}</Cell>
    <Cell name="drift">{drift === 'alarm' ? <span class="problem">alarm</span> : drift ?? ''}</Cell>
    <Cell name="frames">{frames === null ? '' : `${frames.toLocaleString()} · ${bytes(frameBytes ?? 0)}`}</Cell>
    <Cell name="version">{version ?? ''}</Cell>
    <Cell name="wrong" title={wrongOf(row)}>{wrongOf(row)}</Cell>
  </div>
}

function Cell({ name, title, children }: { name: ColumnName; title?: string; children: ComponentChildren }) {
  return <div role="cell" class={`of-${name}`} title={title === '' ? undefined : title}>{children}</div>
}

function useScroll(scroller: { current: HTMLDivElement | null }) {
  const [place, setPlace] = useState({ top: 0, height: 800, rowHeight: lowRow })
  useLayoutEffect(() => {
    const element = scroller.current
    if (!element) return
    const query = matchMedia(narrow)
    const look = () => { setPlace({ top: element.scrollTop, height: element.clientHeight, rowHeight: query.matches ? highRow : lowRow }) }
    const observer = new ResizeObserver(look)
    observer.observe(element)
    element.addEventListener('scroll', look, { passive: true })
    query.addEventListener('change', look)
    look()
    return () => {
      observer.disconnect()
      element.removeEventListener('scroll', look)
      query.removeEventListener('change', look)
    }
  }, [])
  return place
}

/** Arrow keys, Home, End and Page go from box to box, also to those that are not in the document yet. */
function useRowFocus(scroller: { current: HTMLDivElement | null }, { count, first, rowHeight }: { count: number; first: number; rowHeight: number }) {
  const wanted = useRef<number | null>(null)
  useEffect(() => {
    const link = wanted.current === null ? null : scroller.current?.querySelector<HTMLElement>(`[data-row="${String(wanted.current)}"]`)
    if (!link) return
    wanted.current = null
    link.focus({ preventScroll: true })
  }, [first, rowHeight])
  return (event: KeyboardEvent) => {
    const element = scroller.current
    const from = (event.target as HTMLElement).closest('[role=row]')?.querySelector<HTMLElement>('[data-row]')?.dataset.row
    if (!element || from === undefined) return
    const page = Math.max(1, Math.floor(element.clientHeight / rowHeight) - 2)
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -count, End: count }
    const step = steps[event.key]
    if (step === undefined) return
    event.preventDefault()
    // Keys may come faster than rows: the next one goes on from where the last one leads.
    const to = Math.min(count - 1, Math.max(0, (wanted.current ?? Number(from)) + step))
    const head = element.querySelector('.head')?.clientHeight ?? 0
    const [above, below] = [to * rowHeight, (to + 1) * rowHeight + head]
    if (above < element.scrollTop) element.scrollTop = above
    else if (below > element.scrollTop + element.clientHeight) element.scrollTop = below - element.clientHeight
    const link = element.querySelector<HTMLElement>(`[data-row="${String(to)}"]`)
    wanted.current = link ? null : to
    link?.focus({ preventScroll: true })
  }
}
