/** Whether the box is well, and what is wrong where it is not. */
import { useEffect, useState } from 'preact/hooks'
import type { CameraStatus } from '../../../events.js'
import type { DriftState, Health as HealthState, Info } from '../../../report/topics.js'
import { Wide } from '../../evidence/chart.js'
import { ago, bytes, clock, counted, duration, time } from '../../format.js'
import type { JournalLine } from '../../journal.js'
import { answered, client, messageOf } from '../api.js'
import { useNow } from '../components.js'
import { useTopic } from '../live.js'

const lookEveryMs = 2000
const mostLines = 500

export function Health({ cameras }: { cameras: readonly string[] }) {
  useNow(5000)
  const health = useTopic<HealthState>('health')
  const info = useTopic<Info>('info')
  const drift = useTopic<DriftState>('drift')
  if (!health) return <p role="status">Loading …</p>
  const { state, wrong, problems, collection, outbox } = health
  return <>
    <section class="card" aria-labelledby="box">
      <h2 id="box">The box <span class={`badge ${state === 'ok' ? 'good' : 'bad'}`}>{state}</span></h2>
      {wrong.length > 0 && <ul class="problem">{wrong.map(what => <li key={what}>{what}</li>)}</ul>}
      <dl class="facts">
        <dt>Up</dt><dd>{duration(health.uptimeSeconds)}{info && `, since ${time(info.startedAtMs)}`}</dd>
        <dt>Memory of the agent</dt><dd>{bytes(health.rssBytes)}</dd>
        <dt>Frames</dt><dd>{counted(health.frames, 'frame')}, {bytes(health.frameBytes)}</dd>
        <dt>Collection</dt><dd>{collection.state === 'running' ? 'running' : `stopped: ${collection.reason}`}</dd>
        <dt>Events that wait for the broker</dt><dd>{outbox.waiting}{outbox.dropped > 0 && `; ${counted(outbox.dropped, 'event')} lost`}</dd>
        {info && <><dt>Version</dt><dd>pawl {info.version}, Node {info.node}, {info.platform}</dd></>}
      </dl>
    </section>
    {drift && drift.state !== 'off' && <section class="card" aria-labelledby="drift">
      <h2 id="drift">Drift <span class={`badge ${drift.state === 'alarm' ? 'bad' : 'good'}`}>{drift.state}</span></h2>
      <p>{drift.alarm ? drift.alarm.message : drift.state === 'gathering' ? 'What the model in service is used to is being gathered.' : 'The pictures are what they were when the model went into service.'}</p>
    </section>}
    <section class="card" aria-labelledby="cameras">
      <h2 id="cameras">Cameras</h2>
      <table>
        <thead><tr><th scope="col">Camera</th><th scope="col">State</th><th scope="col">Pictures a second</th><th scope="col">Newest</th><th scope="col">Restarts</th><th scope="col">Why</th></tr></thead>
        <tbody>{cameras.map(camera => <CameraRow key={camera} camera={camera} />)}</tbody>
      </table>
    </section>
    <section class="card" aria-labelledby="problems">
      <h2 id="problems">Problems of the last hour</h2>
      {problems.length === 0 ? <p>None.</p> : <ul>{problems.toReversed().map(({ code, message, atMs }) => <li key={`${String(atMs)} ${message}`}><strong>{clock(atMs)}</strong> {message} <span class="faint">{code}</span></li>)}</ul>}
    </section>
    <Log />
  </>
}

/** What the agent has told, as a terminal would show it. */
function Log() {
  const [lines, setLines] = useState<JournalLine[]>([])
  const [problem, setProblem] = useState('')
  useEffect(() => {
    let last = 0
    const look = async () => {
      try {
        const more = await answered(client.log.$get({ query: { after: String(last) } })) as JournalLine[]
        // Of an agent that has started anew the numbers begin again.
        const anew = (more[0]?.at ?? Infinity) <= last
        last = more.at(-1)?.at ?? last
        if (more.length > 0) setLines(before => [...anew ? [] : before, ...more].slice(-mostLines))
        setProblem('')
      } catch (cause) {
        setProblem(messageOf(cause))
      }
    }
    void look()
    const timer = setInterval(() => { void look() }, lookEveryMs)
    return () => { clearInterval(timer) }
  }, [])
  return <section class="card" aria-labelledby="log">
    <h2 id="log">What it says</h2>
    <p role="alert" class="problem">{problem}</p>
    <Wide label="Log"><ol class="log">{lines.toReversed().map(({ at, atMs, text }) => <li key={at}><span class="faint">{clock(atMs)}</span> {text}</li>)}</ol></Wide>
  </section>
}

function CameraRow({ camera }: { camera: string }) {
  const status = useTopic<CameraStatus>(`camera/${camera}/status`)
  return <tr>
    <th scope="row">{camera}</th><td>{status?.state ?? 'unknown'}</td><td>{status?.picturesPerSecond.toFixed(1)}</td>
    <td>{status?.lastPictureAtMs == null ? '–' : ago(status.lastPictureAtMs)}</td><td>{status?.restarts}</td><td>{status?.reason ?? ''}</td>
  </tr>
}
