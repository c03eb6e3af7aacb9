/** What several views show. */
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { messageOf } from './api.js'
import { percent } from '../format.js'

const mostBars = 5

/** The likeliest classes. */
export function Bars({ values }: { values: Readonly<Record<string, number>> }) {
  const rows = Object.entries(values).sort(([, a], [, b]) => b - a).slice(0, mostBars)
  return <dl class="bars">{rows.map(([name, share]) => <div key={name}>
    <dt>{name}</dt><dd><meter min={0} max={1} value={share} aria-label={name}>{percent(share, 0)}</meter><span>{percent(share, 0)}</span></dd>
  </div>)}</dl>
}

interface AskProps {
  label: string
  question: ComponentChildren
  doIt: () => Promise<void>
  danger?: boolean
  disabled?: boolean
}

/** Asks before something is done, and says when it could not be. */
export function Ask({ label, question, doIt, danger = false, disabled = false }: AskProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const act = async () => {
    setBusy(true)
    try {
      await doIt()
      dialog.current?.close()
    } catch (cause) {
      setProblem(messageOf(cause))
    } finally {
      setBusy(false)
    }
  }
  const open = () => {
    setProblem('')
    dialog.current?.showModal()
  }
  return <>
    <button type="button" class={danger ? 'danger' : undefined} disabled={disabled} onClick={open}>{label}</button>
    <dialog ref={dialog} aria-label={label}>
      <p>{question}</p>
      <p role="alert" class="problem">{problem}</p>
      <div class="row">
        <button type="button" class="main" disabled={busy} onClick={() => { void act() }}>{label}</button>
        <button type="button" disabled={busy} onClick={() => { dialog.current?.close() }}>Cancel</button>
      </div>
    </dialog>
  </>
}

/** Now, every so often: for times that are told as ages. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => { setNow(Date.now()) }, everyMs)
    return () => { clearInterval(timer) }
  }, [everyMs])
  return now
}
