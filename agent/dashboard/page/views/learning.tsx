/** How the models came to be: the round that runs, and those before. */
import { useState } from 'preact/hooks'
import type { TrainState } from '../../../report/topics.js'
import type { PromotionRecord } from '../../../rounds/promotion.js'
import type { RoundRecord } from '../../../rounds/records.js'
import { Wide } from '../../evidence/chart.js'
import { Decision, GateLooks } from '../../evidence/decision.js'
import { Round } from '../../evidence/round.js'
import { duration, percent, time } from '../../format.js'
import { client, useAnswer } from '../api.js'
import { useTopic } from '../live.js'

export function Learning() {
  const train = useTopic<TrainState>('train/state')
  const candidate = useTopic<{ round: number }>('model/candidate')
  const { value, problem } = useAnswer(() => client.decisions.$get(), candidate?.round)
  const decisions = (value ?? []) as unknown as PromotionRecord[]
  return <>
    <section class="card" aria-labelledby="running">
      <h2 id="running">{train?.state === 'running' ? `Round ${String(train.round)} runs` : 'No round runs'}</h2>
      {train?.state === 'running' && <Running train={train} />}
      {train?.refused != null && <p class="problem">The last round was not begun: {train.refused}</p>}
    </section>
    {problem !== null && <p role="alert" class="problem">{problem}</p>}
    {decisions.length > 0 && <History decisions={decisions} />}
    {decisions.toReversed().map(decision => <section class="card" key={decision.round} aria-labelledby={`round-${String(decision.round)}`}>
      <h2 id={`round-${String(decision.round)}`}>Round {decision.round} <span class={`badge ${decision.promoted ? 'good' : 'bad'}`}>{decision.promoted ? 'promoted' : decision.reason}</span></h2>
      <p class="faint">{time(decision.decidedAtMs)}{decision.from && `; model ${String(decision.from.version)} of ${decision.from.box} was judged, nothing was learned`}</p>
      <p>{decision.explanation}</p>
      <Evidence decision={decision} />
    </section>)}
  </>
}

function Running({ train: { fraction, paused, phase, secondsLeft, imagesPerSecond, gateOpen } }: { train: TrainState }) {
  return <>
    <progress max={1} value={fraction} aria-label="progress of the round" /> <span>{percent(fraction, 0)}</span>
    <p>{paused !== null ? `It stands still: ${paused}.` : `${phase ?? 'begins'}${secondsLeft === null ? '' : `, ${duration(secondsLeft)} left`}${imagesPerSecond === null ? '' : `, ${imagesPerSecond.toFixed(0)} images a second`}.`}{gateOpen === null ? '' : ` The gate for pseudo-labels is ${gateOpen ? 'open' : 'closed'}.`}</p>
  </>
}

/** Asked for once a person wants to see it. */
function Evidence({ decision }: { decision: PromotionRecord }) {
  const [wanted, setWanted] = useState(false)
  const round = String(decision.round)
  return <details onToggle={event => { setWanted(before => before || event.currentTarget.open) }}>
    <summary>Evidence</summary>
    {wanted && <>
      <Decision decision={decision} />
      <Shown round={round} />
      <p><a href={`api/rounds/${round}/report.html`} download>Report to keep</a></p>
    </>}
  </details>
}

function Shown({ round }: { round: string }) {
  const { value, problem } = useAnswer(() => client.rounds[':round'].$get({ param: { round } }), round)
  if (problem !== null) return <p role="alert" class="problem">{problem}</p>
  if (value === null) return <p role="status">Loading …</p>
  const { record } = value as unknown as { record: RoundRecord | null }
  if (record === null) return <p>Nothing more is kept of this round.</p>
  return <><Round record={record} pictureUrl={name => `api/rounds/${round}/${name}`} /><GateLooks card={record.card} /></>
}

/** Accuracy of each round's challenger with its interval, promoted or not. */
function History({ decisions }: { decisions: readonly PromotionRecord[] }) {
  const judged = decisions.filter(({ comparison }) => comparison !== null).slice(-30)
  if (judged.length === 0) return null
  const [width, height, left] = [640, 180, 52]
  const low = Math.floor(10 * Math.min(...judged.map(({ comparison }) => comparison?.intervalChallenger[0] ?? 0))) / 10
  const x = (at: number) => left + ((width - left - 20) * (at + 0.5)) / judged.length
  const y = (share: number) => 10 + (height - 40) * (1 - (share - low) / Math.max(0.1, 1 - low))
  const ticks = Array.from({ length: 3 }, (_, at) => low + (at * (1 - low)) / 2)
  const title = 'Right of the promotion images of each round, with 95 % intervals; filled: promoted. Where labels came these are others than before'
  return <figure class="card chart">
    <figcaption>{title}</figcaption>
    <Wide label={title}><svg viewBox={`0 0 ${String(width)} ${String(height)}`} role="img" aria-label={judged.map(({ round, accuracyChallenger, promoted }) => `round ${String(round)}: ${percent(accuracyChallenger ?? 0)}, ${promoted ? 'promoted' : 'refused'}`).join('; ')}>
      {ticks.map(tick => <g key={tick}><line class="axis" x1={left} x2={width - 20} y1={y(tick)} y2={y(tick)} /><text x={left - 6} y={y(tick) + 4} text-anchor="end">{percent(tick, 0)}</text></g>)}
      {judged.map(({ round, comparison, accuracyChallenger, promoted }, at) => comparison && <g key={round}>
        <line class="range" x1={x(at)} x2={x(at)} y1={y(comparison.intervalChallenger[0])} y2={y(comparison.intervalChallenger[1])} />
        <circle class={promoted ? 'point' : 'point hollow'} cx={x(at)} cy={y(accuracyChallenger ?? 0)} r="5" />
        <text x={x(at)} y={height - 8} text-anchor="middle">{round}</text>
      </g>)}
    </svg></Wide>
  </figure>
}
