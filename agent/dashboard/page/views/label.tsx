/** Labeling, by the keyboard first: a frame, what the model takes it for, a key for each class. */
import { useEffect, useRef } from 'preact/hooks'
import type { QueuedFrame } from '../../../frames/labeling.js'
import { frameUrl } from '../api.js'
import { clock, counted, percent } from '../../format.js'
import { keys, useLabeling } from '../labeling.js'
import { Folders } from './folders.js'
import { reasons } from './live.js'

/** From one look for more frames to the next, where there are few. */
const lookEveryMs = 5000

export function LabelView({ device, cameras }: { device: string; cameras: readonly string[] }) {
  const labeling = useLabeling(device)
  const { frames, current, alike, marked, classes, waiting, labeled, wanted, said, problem, isLow } = labeling
  const newClass = useRef<HTMLInputElement>(null)

  useEffect(() => {
    labeling.look()
    void labeling.count()
  }, [])
  useEffect(() => {
    if (!isLow) return
    void labeling.ask()
    const timer = setInterval(() => { void labeling.ask() }, lookEveryMs)
    return () => { clearInterval(timer) }
  }, [isLow, wanted])

  const suggestion = current?.suggestion?.label
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const { key, target, ctrlKey, metaKey, altKey } = event
      if ((target as HTMLElement).matches('input:not([type=checkbox]), select, textarea, dialog *') || altKey || event.repeat) return
      const chosen = classes?.[keys.indexOf(key)]
      const undo = () => { void labeling.undo() }
      const act = (ctrlKey || metaKey) ? (key === 'z' ? undo : null)
        : chosen ? () => { void labeling.label(chosen.label) }
        : key === 'Enter' && !(target as HTMLElement).matches('button, a') && suggestion !== undefined ? () => { void labeling.label(suggestion) }
        : { s: () => { void labeling.skip() }, u: undo, a: () => { labeling.markAlike() }, n: () => { newClass.current?.select() } }[key] ?? null
      if (!act) return
      event.preventDefault()
      act()
    }
    window.addEventListener('keydown', pressed)
    return () => { window.removeEventListener('keydown', pressed) }
  })

  const perHour = labeled / Math.max(1 / 60, (Date.now() - labeling.beganAtMs) / 3_600_000)
  const add = async (event: SubmitEvent) => {
    event.preventDefault()
    const { current: input } = newClass
    const typed = input?.value ?? ''
    if (typed.trim() === '' || !input) return
    input.blur()
    // What the box does not take is there to be mended.
    if (await labeling.label(typed.trim()) && input.value === typed) input.value = ''
  }
  return <div class="labeling">
    <div class="row which">
      <Choice label="Camera" every="all cameras" value={wanted.camera} options={cameras.map(camera => [camera, camera])} onChoose={camera => { labeling.choose({ camera }) }} />
      <Choice label="Kept" every="for any reason" value={wanted.reason} options={Object.entries(reasons)} onChoose={reason => { labeling.choose({ reason }) }} />
    </div>
    <section class="card" aria-label="Frame to label">
      {current
        ? <>
            <img class="picture" src={frameUrl(current.id)} alt={`frame of camera ${current.camera}`} />
            <p class="answer">{current.suggestion ? <>taken for <strong>{suggestion}</strong> {percent(current.suggestion.confidence, 0)}</> : 'no model says anything of it yet'}</p>
            <p class="faint">{current.camera} · {clock(current.capturedAtMs)} · kept: {reasons[current.reason] ?? current.reason}</p>
          </>
        : <p class="empty picture">{waiting === 0 ? 'No frames wait for a label.' : 'Loading …'}</p>}
      <div class="row">
        {suggestion !== undefined && <button type="button" class="main" onClick={() => { void labeling.label(suggestion) }}>Yes <kbd>Enter</kbd></button>}
        <button type="button" disabled={!current} onClick={() => { void labeling.skip() }}>Skip <kbd>s</kbd></button>
        <button type="button" disabled={labeling.done.length === 0} onClick={() => { void labeling.undo() }}>Undo <kbd>u</kbd></button>
      </div>
      <p role="status" class="faint">{said}</p>
      <p role="alert" class="problem">{problem}</p>
    </section>
    <section class="card" aria-labelledby="classes">
      <h2 id="classes">Class</h2>
      {classes?.every(one => one === null) === true && <p>
        No class yet: type the name of the first one, and it is the label of this frame. A round needs two classes, with five labels each or more.
      </p>}
      <div class="classes">{classes?.map((one, at) => one && <button type="button" key={one.label} disabled={!current} aria-keyshortcuts={keys[at]} onClick={() => { void labeling.label(one.label) }}>
        {keys[at] !== undefined && <kbd>{keys[at]}</kbd>}<span>{one.label}</span><span class="faint">{one.images}</span>
      </button>)}</div>
      <form class="row" onSubmit={event => { void add(event) }}>
        <label for="new-class">New class <kbd>n</kbd></label>
        <input id="new-class" ref={newClass} maxLength={100} onKeyDown={event => { if (event.key === 'Escape') newClass.current?.blur() }} />
        <button disabled={!current}>Label</button>
      </form>
      <p class="faint">{counted(waiting, 'frame')} without a label · {labeled} labeled here{labeled >= 10 ? `, ${perHour.toFixed(0)} an hour` : ''}</p>
    </section>
    <section class="card alike" aria-labelledby="alike">
      <h2 id="alike">Alike {alike.length > 0 && <button type="button" onClick={() => { labeling.markAlike() }}>{alike.every(({ id }) => marked.has(id)) ? 'None' : 'All'} <kbd>a</kbd></button>}</h2>
      {alike.length === 0 ? <p class="faint">Nothing that waits looks much like it.</p> : <p class="faint">Those that are marked get the same label.</p>}
      <Marks frames={alike} marked={marked} onMark={(id, on) => { labeling.mark([id], on) }} />
      <h2 class="later">Next</h2>
      <ul class="strip">{frames.slice(1).filter(frame => !alike.includes(frame)).slice(0, 24).map(({ id, suggestion: seen }) => <li key={id}>
        <button type="button" class="bare" onClick={() => { labeling.first(id) }}><img src={frameUrl(id)} alt={seen ? `taken for ${seen.label}` : 'a frame'} /></button>
      </li>)}</ul>
    </section>
    <Folders onImported={() => { void labeling.count() }} />
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
