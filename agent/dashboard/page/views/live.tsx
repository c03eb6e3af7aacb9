/** Each camera: what it sees now, what the model says of it, and which frames were kept for what. */
import { useEffect, useState } from 'preact/hooks'
import type { CameraStatus, Prediction } from '../../../events.js'
import { frameUrl } from '../api.js'
import { Bars } from '../components.js'
import { ago, clock, percent } from '../../format.js'
import { useTopic } from '../live.js'

interface Kept {
  id: string
  reason: string
  atMs: number
}

const mostKept = 8
/** Why a frame is kept, in words. */
export const reasons: Record<string, string> = {
  first: 'one of the first', uncertain: 'the model was not sure', novel: 'unlike what was kept', audit: 'by chance, as a check', disagreeing: 'this model and the one before it disagree', unknown: 'unknown',
}

export function LiveView({ cameras }: { cameras: readonly string[] }) {
  return <div class="cameras">{cameras.map(camera => <Camera key={camera} camera={camera} />)}</div>
}

function Camera({ camera }: { camera: string }) {
  const status = useTopic<CameraStatus>(`camera/${camera}/status`)
  const prediction = useTopic<Prediction>(`camera/${camera}/prediction`)
  const kept = useLatest(useTopic<Kept>(`camera/${camera}/kept`))
  const newest = prediction?.capturedAtMs ?? kept[0]?.atMs
  return <section class="card" aria-labelledby={`camera-${camera}`}>
    <h2 id={`camera-${camera}`}>{camera} <State status={status} /></h2>
    <div class="seen">
      {newest === undefined
        ? <div class="picture empty">no picture yet</div>
        : <img class="picture" src={`api/cameras/${camera}/picture?at=${String(newest)}`} alt={prediction ? `newest frame, classified as ${prediction.label}` : 'newest frame'} />}
      {prediction
        ? <div class="said">
            <p class="answer"><strong>{prediction.label}</strong> {percent(prediction.confidence, 0)}</p>
            <Bars values={prediction.probabilities} />
            <p class="faint">{clock(prediction.capturedAtMs)} · model {prediction.model} · {prediction.latencyMs.toFixed(0)} ms</p>
          </div>
        : <p class="said faint">No model serves yet: frames are collected for the first round.</p>}
    </div>
    {kept.length > 0 && <>
      <h3>Kept to learn from</h3>
      <ul class="strip">{kept.map(({ id, reason, atMs }) => <li key={id}>
        <img src={frameUrl(id)} alt={`frame kept: ${reasons[reason] ?? reason}`} title={`${clock(atMs)}: ${reasons[reason] ?? reason}`} loading="lazy" /><span>{reason}</span>
      </li>)}</ul>
    </>}
  </section>
}

function State({ status }: { status: CameraStatus | undefined }) {
  if (!status) return <span class="badge">unknown</span>
  const { state, picturesPerSecond, reason, lastPictureAtMs } = status
  return <>
    <span class={`badge ${state === 'online' && reason === null ? 'good' : state === 'offline' ? 'bad' : ''}`}>{state}</span>
    <span class="faint"> {state === 'online' ? `${picturesPerSecond.toFixed(1)} pictures a second` : lastPictureAtMs === null ? 'no picture yet' : `last picture ${ago(lastPictureAtMs)}`}{reason === null ? '' : ` · ${reason}`}</span>
  </>
}

/** The newest few of what comes, the newest first. */
function useLatest(newest: Kept | undefined): Kept[] {
  const [all, setAll] = useState<Kept[]>([])
  useEffect(() => { if (newest) setAll(before => [newest, ...before.filter(({ id }) => id !== newest.id)].slice(0, mostKept)) }, [newest])
  return all
}
