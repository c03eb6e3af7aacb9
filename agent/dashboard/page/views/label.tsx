/** Labeling, by the keyboard first: a frame, what the model takes it for, a key for each class. */
import { useEffect, useReducer, useRef, useState } from 'preact/hooks'
import type { QueuedFrame } from '../../../frames/labeling.js'
import { answered, client, frameUrl, messageOf } from '../api.js'
import { clock, counted, percent } from '../../format.js'
import { Folders } from './folders.js'
import { reasons } from './live.js'

const page = 48
/** Frames left at which the next ones are asked for. */
const low = 12
/** Of the classes, in their order; the letters that do something else are not among them. */
const keys = '1 2 3 4 5 6 7 8 9 0 q w e r t y i o p d f g h j k l z x c v b m'.split(' ')
/** From one look for more frames to the next, where there are few. */
const lookEveryMs = 5000

interface Done {
  frames: QueuedFrame[]
  /** Null: passed over. */
  label: string | null
}

interface State {
  frames: QueuedFrame[]
  /** Ids marked beside the first one. */
  marked: ReadonlySet<string>
  done: Done[]
  labeled: number
}

type Change =
  | { type: 'came'; frames: QueuedFrame[] }
  | { type: 'mark'; ids: readonly string[]; on: boolean }
  | { type: 'done'; done: Done }
  /** They come back: undone, or not done. */
  | { type: 'back'; done: Done; frames: QueuedFrame[] }
  /** They are not there any more: somebody else was first, or they made room. */
  | { type: 'gone'; done: Done; ids: ReadonlySet<string> }
  | { type: 'first'; id: string }
  /** Others are asked for. */
  | { type: 'anew' }

function changed(state: State, change: Change): State {
  const { frames, marked, done } = state
  switch (change.type) {
    case 'came': {
      const known = new Set([...frames, ...done.flatMap(one => one.frames)].map(({ id }) => id))
      return { ...state, frames: [...frames, ...change.frames.filter(({ id }) => !known.has(id))] }
    }
    case 'mark': return { ...state, marked: new Set(change.on ? [...marked, ...change.ids] : [...marked].filter(id => !change.ids.includes(id))) }
    case 'done': {
      const gone = new Set(change.done.frames.map(({ id }) => id))
      return {
        frames: frames.filter(({ id }) => !gone.has(id)), marked: new Set(), done: [...done, change.done],
        labeled: state.labeled + (change.done.label === null ? 0 : gone.size),
      }
    }
    case 'back': return {
      frames: [...change.frames, ...frames],
      marked: new Set(change.frames.slice(1).map(({ id }) => id)),
      done: done.filter(one => one !== change.done),
      labeled: state.labeled - (change.done.label === null ? 0 : change.done.frames.length),
    }
    case 'gone': {
      const left = { ...change.done, frames: change.done.frames.filter(({ id }) => !change.ids.has(id)) }
      return {
        ...state,
        done: done.flatMap(one => (one !== change.done ? [one] : left.frames.length > 0 ? [left] : [])),
        labeled: state.labeled - (change.done.label === null ? 0 : change.ids.size),
      }
    }
    case 'anew': return { ...state, frames: [], marked: new Set() }
    case 'first': {
      const first = frames.find(({ id }) => id === change.id)
      if (!first) return state
      return { ...state, frames: [first, ...frames.filter(frame => frame !== first)], marked: new Set([...marked].filter(id => id !== change.id)) }
    }
  }
}

export function LabelView({ cameras }: { cameras: readonly string[] }) {
  const [state, apply] = useReducer(changed, { frames: [], marked: new Set<string>(), done: [], labeled: 0 })
  const [classes, setClasses] = useState<{ label: string; images: number }[] | null>(null)
  const [waiting, setWaiting] = useState(0)
  const [said, setSaid] = useState('')
  const [problem, setProblem] = useState('')
  const [wanted, setWanted] = useState({ camera: '', reason: '' })
  /** What is being asked for. */
  const asking = useRef<typeof wanted | null>(null)
  const began = useRef(Date.now())
  const newClass = useRef<HTMLInputElement>(null)
  const [current] = state.frames
  const alike = state.frames.filter(({ id }) => current?.alike.includes(id) ?? false)

  const ask = async () => {
    if (asking.current === wanted) return
    asking.current = wanted
    try {
      const queue = await answered(client.queue.$get({ query: { count: String(page), ...wanted.camera !== '' && { camera: wanted.camera }, ...wanted.reason !== '' && { reason: wanted.reason } } }))
      if (asking.current !== wanted) return
      setWaiting(queue.waiting)
      apply({ type: 'came', frames: queue.frames })
    } catch (cause) {
      setProblem(messageOf(cause))
    } finally {
      if (asking.current === wanted) asking.current = null
    }
  }
  const count = async () => {
    const now = await answered(client.classes.$get())
    // In the order in which they were first seen here: a key stays that of its class.
    setClasses(before => {
      const known = new Set(before?.map(({ label: name }) => name))
      const kept = (before ?? []).flatMap(({ label: name }) => now.find(one => one.label === name) ?? [])
      return [...kept, ...now.filter(({ label: name }) => !known.has(name))]
    })
  }
  useEffect(() => { count().catch((cause: unknown) => { setProblem(messageOf(cause)) }) }, [])
  useEffect(() => {
    if (state.frames.length >= low) return
    void ask()
    const timer = setInterval(() => { void ask() }, lookEveryMs)
    return () => { clearInterval(timer) }
  }, [state.frames.length < low, wanted])

  const finish = async (done: Done, work: () => Promise<{ id: string; error: { code: string; message: string } | null }[]>) => {
    setProblem('')
    setSaid('')
    apply({ type: 'done', done })
    setWaiting(before => before - done.frames.length)
    try {
      const refused = (await work()).filter(({ error }) => error !== null)
      if (refused.length > 0) {
        const ids = new Set(refused.map(({ id }) => id))
        // What could be done with another name comes back; what is gone does not.
        const again = refused.every(({ error }) => error?.code !== 'FRAME_GONE') && ids.size === done.frames.length
        apply(again ? { type: 'back', done, frames: done.frames } : { type: 'gone', done, ids })
        if (again) setWaiting(before => before + done.frames.length)
        setProblem(`${counted(refused.length, 'frame')}: ${refused[0]?.error?.message ?? ''}`)
      }
      const finished = counted(done.frames.length - refused.length, 'frame')
      if (refused.length < done.frames.length) setSaid(`${finished} ${done.label === null ? 'passed over' : `labeled ${done.label}`}`)
      await count()
    } catch (cause) {
      apply({ type: 'back', done, frames: done.frames })
      setWaiting(before => before + done.frames.length)
      setProblem(`${messageOf(cause)}; what you labeled last is back in the queue`)
    }
  }
  const taken = () => (current ? [current, ...state.frames.filter(({ id }) => id !== current.id && state.marked.has(id))] : [])
  const label = (name: string) => {
    const frames = taken()
    if (frames.length === 0) return
    void finish({ frames, label: name }, () => answered(client.labels.$post({ json: { frames: frames.map(({ id }) => ({ id, label: name })) } })))
  }
  const skip = () => {
    const frames = taken()
    if (frames.length === 0) return
    void finish({ frames, label: null }, async () => {
      await answered(client.skipped.$post({ json: { ids: frames.map(({ id }) => id) } }))
      return []
    })
  }
  const undo = async () => {
    const last = state.done.at(-1)
    if (!last) return
    const { frames, label: name } = last
    try {
      if (name === null) await answered(client.skipped.undo.$post({ json: { ids: frames.map(({ id }) => id) } }))
      const outcomes = name === null
        ? []
        : await answered(client.labels.undo.$post({ json: { frames: frames.map(({ id }) => ({ id, label: name })) } }))
      const lost = outcomes.filter(({ error }) => error !== null)
      const ids = new Set(lost.map(({ id }) => id))
      apply({ type: 'back', done: last, frames: frames.filter(({ id }) => !ids.has(id)) })
      setWaiting(before => before + frames.length - lost.length)
      setSaid(lost.length < frames.length ? 'undone' : '')
      setProblem(lost.length > 0 ? `${counted(lost.length, 'frame')}: ${lost[0]?.error?.message ?? ''}` : '')
      await count()
    } catch (cause) {
      setProblem(messageOf(cause))
    }
  }
  const markAlike = () => { apply({ type: 'mark', ids: alike.map(({ id }) => id), on: !alike.every(({ id }) => state.marked.has(id)) }) }

  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const { key, target, ctrlKey, metaKey, altKey } = event
      if ((target as HTMLElement).matches('input:not([type=checkbox]), select, textarea, dialog *') || altKey || event.repeat) return
      const chosen = classes?.[keys.indexOf(key)]
      const act = (ctrlKey || metaKey) ? (key === 'z' ? () => { void undo() } : null)
        : chosen ? () => { label(chosen.label) }
        : key === 'Enter' && !(target as HTMLElement).matches('button, a') && current?.suggestion ? () => { label(current.suggestion?.label ?? '') }
        : { s: skip, u: () => { void undo() }, a: markAlike, n: () => { newClass.current?.focus() } }[key] ?? null
      if (!act) return
      event.preventDefault()
      act()
    }
    window.addEventListener('keydown', pressed)
    return () => { window.removeEventListener('keydown', pressed) }
  })

  const perHour = state.labeled / Math.max(1 / 60, (Date.now() - began.current) / 3_600_000)
  const add = (event: SubmitEvent) => {
    event.preventDefault()
    const name = newClass.current?.value.trim() ?? ''
    if (name === '' || !newClass.current) return
    label(name)
    newClass.current.value = ''
    newClass.current.blur()
  }
  const choose = (change: Partial<typeof wanted>) => {
    apply({ type: 'anew' })
    setWanted(before => ({ ...before, ...change }))
  }
  return <div class="labeling">
    <div class="row which">
      <Choice label="Camera" every="all cameras" value={wanted.camera} options={cameras.map(camera => [camera, camera])} onChoose={camera => { choose({ camera }) }} />
      <Choice label="Kept" every="for any reason" value={wanted.reason} options={Object.entries(reasons)} onChoose={reason => { choose({ reason }) }} />
    </div>
    <section class="card" aria-label="Frame to label">
      {current
        ? <>
            <img class="picture" src={frameUrl(current.id)} alt={`frame of camera ${current.camera}`} />
            <p class="answer">{current.suggestion ? <>taken for <strong>{current.suggestion.label}</strong> {percent(current.suggestion.confidence, 0)}</> : 'no model says anything of it yet'}</p>
            <p class="faint">{current.camera} · {clock(current.capturedAtMs)} · kept: {reasons[current.reason] ?? current.reason}</p>
          </>
        : <p class="empty picture">{waiting === 0 ? 'No frames wait for a label.' : 'Loading …'}</p>}
      <div class="row">
        {current?.suggestion && <button type="button" class="main" onClick={() => { label(current.suggestion?.label ?? '') }}>Yes <kbd>Enter</kbd></button>}
        <button type="button" disabled={!current} onClick={skip}>Skip <kbd>s</kbd></button>
        <button type="button" disabled={state.done.length === 0} onClick={() => { void undo() }}>Undo <kbd>u</kbd></button>
      </div>
      <p role="status" class="faint">{said}</p>
      <p role="alert" class="problem">{problem}</p>
    </section>
    <section class="card" aria-labelledby="classes">
      <h2 id="classes">Class</h2>
      {classes?.length === 0 && <p>
        No class yet: type the name of the first one, and it is the label of this frame. A round needs two classes, with five labels each or more.
      </p>}
      <div class="classes">{(classes ?? []).map(({ label: name, images }, at) => <button type="button" key={name} disabled={!current} aria-keyshortcuts={keys[at]} onClick={() => { label(name) }}>
        {keys[at] !== undefined && <kbd>{keys[at]}</kbd>}<span>{name}</span><span class="faint">{images}</span>
      </button>)}</div>
      <form class="row" onSubmit={add}>
        <label for="new-class">New class <kbd>n</kbd></label>
        <input id="new-class" ref={newClass} maxLength={100} onKeyDown={event => { if (event.key === 'Escape') newClass.current?.blur() }} />
        <button disabled={!current}>Label</button>
      </form>
      <p class="faint">{counted(waiting, 'frame')} without a label · {state.labeled} labeled here{state.labeled >= 10 ? `, ${perHour.toFixed(0)} an hour` : ''}</p>
    </section>
    <section class="card alike" aria-labelledby="alike">
      <h2 id="alike">Alike {alike.length > 0 && <button type="button" onClick={markAlike}>{alike.every(({ id }) => state.marked.has(id)) ? 'None' : 'All'} <kbd>a</kbd></button>}</h2>
      {alike.length === 0 ? <p class="faint">Nothing that waits looks much like it.</p> : <p class="faint">Those that are marked get the same label.</p>}
      <Marks frames={alike} marked={state.marked} onMark={(id, on) => { apply({ type: 'mark', ids: [id], on }) }} />
      <h2>Next</h2>
      <ul class="strip">{state.frames.slice(1).filter(({ id }) => !alike.some(other => other.id === id)).slice(0, 24).map(({ id, suggestion }) => <li key={id}>
        <button type="button" class="bare" onClick={() => { apply({ type: 'first', id }) }}><img src={frameUrl(id)} alt={suggestion ? `taken for ${suggestion.label}` : 'a frame'} /></button>
      </li>)}</ul>
    </section>
    <Folders onImported={() => { void count() }} />
  </div>
}

interface ChoiceProps {
  label: string
  /** What it is called when nothing is chosen. */
  every: string
  value: string
  options: readonly (readonly [key: string, name: string])[]
  onChoose: (value: string) => void
}

function Choice({ label, every, value, options, onChoose }: ChoiceProps) {
  return <label>{label} <select value={value} onChange={event => {
    onChoose(event.currentTarget.value)
    // Keys are for labels again.
    event.currentTarget.blur()
  }}>
    <option value="">{every}</option>{options.map(([key, name]) => <option key={key} value={key}>{name}</option>)}
  </select></label>
}

interface MarksProps {
  frames: readonly QueuedFrame[]
  marked: ReadonlySet<string>
  onMark: (id: string, on: boolean) => void
}

function Marks({ frames, marked, onMark }: MarksProps) {
  return <ul class="strip">{frames.map(({ id, suggestion }, at) => <li key={id}><label>
    <input type="checkbox" checked={marked.has(id)} onChange={event => { onMark(id, event.currentTarget.checked) }} aria-label={`alike ${String(at + 1)}${suggestion ? `, taken for ${suggestion.label}` : ''}`} />
    <img src={frameUrl(id)} alt="" /><span>{suggestion?.label ?? ''}</span>
  </label></li>)}</ul>
}
