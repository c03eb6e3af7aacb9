/** One box: all that it retains. */
import { useEffect, useRef } from 'preact/hooks'
import { useAnswer } from '../../dashboard/page/api.js'
import { useNow } from '../../dashboard/page/components.js'
import { Decision } from '../../dashboard/evidence/decision.js'
import { ago, bytes, clock, counted, duration, percent, time } from '../../dashboard/format.js'
import type { Row } from '../row.js'
import { modelOf, roundOf, stateOf } from '../words.js'
import { boxOf } from './api.js'

/** `row`: null where there is no such box. */
export function BoxDialog({ device, row, onClose, onCommand }: { device: string; row: Row | null; onClose: () => void; onCommand: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => { dialog.current?.showModal() }, [])
  return <dialog ref={dialog} class="wide" aria-labelledby="box-name" onClose={onClose}>
    <div class="row">
      <h2 id="box-name">{device}</h2>
      {row && <span class={`badge ${stateOf(row).tone}`}>{stateOf(row).text}</span>}
      <span class="gap" />
      {row && <button type="button" onClick={onCommand}>Command …</button>}
      <button type="button" onClick={() => { dialog.current?.close() }}>Close</button>
    </div>
    {row ? <Details device={device} row={row} /> : <p role="status">The broker knows no box of this name, or none any more.</p>}
  </dialog>
}

function Details({ device, row }: { device: string; row: Row }) {
  useNow(5000)
  const { value, problem } = useAnswer(() => boxOf(device), row)
  if (!value) return <p role="status" class="problem">{problem}</p>
  const here = row.online === true
  const { told: { info, health, modelActive, modelCandidate, drift, trainState }, cameras, retained } = value
  return <>
    {health && health.wrong.length > 0 && <ul class="problem">{health.wrong.map(what => <li key={what}>{what}</li>)}</ul>}
    <dl class="facts">
      {info && <><dt>Version</dt><dd>pawl {info.version}, Node {info.node}, {info.platform}</dd><dt>Started</dt><dd>{time(info.startedAtMs)}</dd></>}
      {health && <>
        <dt>Last heard</dt><dd>{ago(health.atMs)}, up for {duration(health.uptimeSeconds)}</dd>
        <dt>Memory of the agent</dt><dd>{bytes(health.rssBytes)}</dd>
        <dt>Frames</dt><dd>{counted(health.frames, 'frame')}, {bytes(health.frameBytes)}{here && (health.collection.state === 'running' ? '; being collected' : `; collection stopped: ${health.collection.reason}`)}</dd>
        <dt>Events that wait for the broker</dt><dd>{health.outbox.waiting}{health.outbox.dropped > 0 && `; ${counted(health.outbox.dropped, 'event')} lost`}</dd>
      </>}
      <dt>Model</dt><dd>{modelOf(row)}{modelActive && `, ${modelActive.method}, ${modelActive.preset}, of ${time(modelActive.createdAtMs)}; calibration error ${percent(modelActive.ece)}`}</dd>
      {modelActive && <><dt>Accuracy</dt><dd>{modelActive.accuracy === null ? 'not measured' : `${percent(modelActive.accuracy)} of the promotion images`}</dd><dt>Classes</dt><dd>{modelActive.classes.join(', ')}</dd></>}
      <dt>Round</dt><dd>{roundOf(row)}{row.running?.phase != null && `, ${row.running.phase}`}{row.running && trainState?.secondsLeft != null && `, ${duration(trainState.secondsLeft)} left`}{row.running && trainState?.paused != null && `; stands still: ${trainState.paused}`}{trainState?.refused != null && `; the last was not started: ${trainState.refused}`}</dd>
      {drift && <><dt>Drift</dt><dd>{drift.alarm ? <span class="problem">{drift.alarm.message}</span> : drift.state}</dd></>}
    </dl>
    {cameras.length > 0 && <table>
      <caption>Cameras</caption>
      <thead><tr><th scope="col">Camera</th><th scope="col">State</th><th scope="col">Pictures a second</th><th scope="col">Newest</th><th scope="col">Restarts</th><th scope="col">Why</th></tr></thead>
      <tbody>{cameras.map(({ camera, state, picturesPerSecond, lastPictureAtMs, restarts, reason }) => <tr key={camera}>
        <th scope="row">{camera}</th><td>{!here ? `unknown, last ${state}` : state === 'online' ? state : <span class="problem">{state}</span>}</td><td>{here ? picturesPerSecond.toFixed(1) : '–'}</td>
        <td>{lastPictureAtMs === null ? '–' : ago(lastPictureAtMs)}</td><td>{restarts}</td><td>{reason ?? ''}</td>
      </tr>)}</tbody>
    </table>}
    {modelCandidate && <details><summary>Round {modelCandidate.round}: {modelCandidate.promoted ? 'promoted' : 'refused'}, {time(modelCandidate.decidedAtMs)}. {modelCandidate.explanation}</summary><Decision decision={modelCandidate} /></details>}
    {health && health.problems.length > 0 && <details><summary>{counted(health.problems.length, 'problem')} in the last hour</summary>
      <ul>{health.problems.toReversed().map(({ code, message, atMs }) => <li key={`${String(atMs)} ${message}`}><strong>{clock(atMs)}</strong> {message} <span class="faint">{code}</span></li>)}</ul>
    </details>}
    <details><summary>As it stands at the broker</summary>
      {Object.entries(retained).map(([topic, text]) => <div key={topic}><h3>{topic}</h3><pre tabIndex={0}>{text}</pre></div>)}
    </details>
  </>
}
