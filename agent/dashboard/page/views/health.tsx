/** Whether the box is well, and what is wrong where it is not. */
import { useRef } from 'preact/hooks'
import type { Verification } from '../../../../trainer/contract.js'
import type { AgentEvent, CameraStatus, Prediction } from '../../../events.js'
import type { DriftState, Health as HealthState, Info } from '../../../report/topics.js'
import { Wide } from '../../evidence/chart.js'
import { ago, bytes, clock, counted, duration, time } from '../../format.js'
import type { JournalLine } from '../../journal.js'
import { answered, client, useRepeated } from '../api.js'
import { useNow } from '../components.js'
import { useTopic } from '../live.js'

const [nowEveryMs, logEveryMs] = [5000, 2000]
const mostLines = 500

export function Health({ cameras }: { cameras: readonly string[] }) {
  const drift = useTopic<DriftState>('drift')
  const health = useTopic<HealthState>('health')
  return <>
    <BoxHealth />
    {drift && drift.state !== 'off' && <section class="card" aria-labelledby="drift">
      <h2 id="drift">Drift <span class={`badge ${drift.state === 'alarm' ? 'bad' : 'good'}`}>{drift.state}</span></h2>
      <p>{drift.alarm ? drift.alarm.message : drift.state === 'gathering' ? 'What the model in service is used to is being gathered.' : 'The pictures are what they were when the model went into service.'}</p>
    </section>}
    <section class="card" aria-labelledby="cameras">
      <h2 id="cameras">Cameras</h2>
      <Wide label="Cameras"><table>
        <thead><tr><th scope="col">Camera</th><th scope="col">State</th><th scope="col">Pictures a second</th><th scope="col">Newest</th><th scope="col">Restarts</th><th scope="col">Why</th></tr></thead>
        <tbody>{cameras.map(camera => <CameraRow key={camera} camera={camera} />)}</tbody>
      </table></Wide>
    </section>
    {health && <section class="card" aria-labelledby="problems">
      <h2 id="problems">Problems of the last hour</h2>
      {health.problems.length === 0 ? <p>None.</p> : <ul>{health.problems.toReversed().map(({ code, message, atMs }) => <li key={`${String(atMs)} ${message}`}><strong>{clock(atMs)}</strong> {message} <span class="faint">{code}</span></li>)}</ul>}
    </section>}
    <Log />
  </>
}

function BoxHealth() {
  useNow(nowEveryMs)
  const health = useTopic<HealthState>('health')
  const info = useTopic<Info>('info')
  const broker = useTopic<Extract<AgentEvent, { type: 'broker' }>>('broker')
  const { value: now, problem } = useRepeated(() => answered(client.now.$get()), nowEveryMs)
  if (!health) return <p role="status">Loading …</p>
  const { state, wrong, collection, outbox } = health
  return <section class="card" aria-labelledby="box">
    <h2 id="box">The box <span class={`badge ${state === 'ok' ? 'good' : 'bad'}`}>{state}</span></h2>
    {wrong.length > 0 && <ul class="problem">{wrong.map(what => <li key={what}>{what}</li>)}</ul>}
    <p role="alert" class="problem">{problem}</p>
    <dl class="facts">
      {info && <><dt>Up</dt><dd>{duration((Date.now() - info.startedAtMs) / 1000)}, since {time(info.startedAtMs)}</dd></>}
      <dt>Broker</dt><dd>{broker === undefined ? 'not reached yet' : broker.state === 'connected' ? `connected: ${broker.url}` : `away: ${broker.reason}`}; {counted(outbox.waiting, 'event')} wait{outbox.waiting === 1 ? 's' : ''}{outbox.dropped > 0 && `, ${counted(outbox.dropped, 'event')} lost`}</dd>
      <dt>Collection</dt><dd>{collection.state === 'running' ? 'running' : `stopped: ${collection.reason}`}</dd>
      {now && <>
        <dt>Frames</dt><dd>{counted(now.frames, 'frame')}, {bytes(now.frameBytes)}</dd>
        <dt>Disk</dt><dd>{bytes(now.machine.diskFreeBytes)} of {bytes(now.machine.diskBytes)} free</dd>
        <dt>Memory</dt><dd>{bytes(now.machine.memoryFreeBytes)} of {bytes(now.machine.memoryBytes)} free; the agent has {bytes(health.rssBytes)}</dd>
        <dt>Processor</dt><dd>{counted(now.machine.cores, 'core')}, load {now.machine.load.toFixed(1)}</dd>
        <dt>Trains with</dt><dd><Engines engines={now.engines} /></dd>
      </>}
      {info && <><dt>Version</dt><dd>pawl {info.version}, Node {info.node}, {info.platform}</dd></>}
    </dl>
  </section>
}

/** What trains here; why others do not is for those who want to know. */
function Engines({ engines }: { engines: readonly Verification[] }) {
  const nameOf = ({ engine: { backend, device } }: Verification) => `${backend} on ${device}`
  const [good, bad] = [engines.filter(({ ok }) => ok), engines.filter(({ ok }) => !ok)]
  return <>
    {good.length === 0 ? 'onnxruntime on cpu' : good.map(one => `${nameOf(one)}${one.imagesPerSecond === null ? '' : `, ${one.imagesPerSecond.toFixed(0)} images a second`}`).join('; ')}
    {bad.length > 0 && <details><summary>{counted(bad.length, 'engine')} that cannot be used here</summary><ul>{bad.map(one => <li key={nameOf(one)}>{nameOf(one)}: {one.reason}</li>)}</ul></details>}
  </>
}

function CameraRow({ camera }: { camera: string }) {
  const status = useTopic<CameraStatus>(`camera/${camera}/status`)
  const prediction = useTopic<Prediction>(`camera/${camera}/prediction`)
  const newest = Math.max(status?.lastPictureAtMs ?? 0, prediction?.capturedAtMs ?? 0)
  return <tr>
    <th scope="row">{camera}</th><td>{status?.state ?? 'unknown'}</td><td>{status?.picturesPerSecond.toFixed(1)}</td>
    <td>{status?.state === 'online' ? 'now' : newest > 0 ? ago(newest) : '–'}</td><td>{status?.restarts}</td><td>{status?.reason ?? ''}</td>
  </tr>
}

/** What the agent has told, as a terminal would show it. */
function Log() {
  const lines = useRef<JournalLine[]>([])
  const { problem } = useRepeated(async () => {
    const last = lines.current.at(-1)?.at ?? 0
    const more = await answered(client.log.$get({ query: { after: String(last) } })) as JournalLine[]
    // Of an agent that has started anew the numbers begin again.
    const anew = (more[0]?.at ?? Infinity) <= last
    lines.current = [...anew ? [] : lines.current, ...more].slice(-mostLines)
    return last
  }, logEveryMs)
  return <section class="card" aria-labelledby="log">
    <h2 id="log">What it says</h2>
    <p role="alert" class="problem">{problem}</p>
    <ol class="log" tabIndex={0} aria-labelledby="log">{lines.current.toReversed().map(({ at, atMs, text }) => <li key={at}><span class="faint">{clock(atMs)}</span> {text}</li>)}</ol>
  </section>
}
