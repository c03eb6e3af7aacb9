/** The versions, why each was promoted or refused, and which one serves. */
import { useState } from 'preact/hooks'
import type { ModelVersion } from '../../../events.js'
import { calibrationErrorOf } from '../../../figures.js'
import type { LineageEntry } from '../../../registry/lineage.js'
import type { TrainState } from '../../../report/topics.js'
import type { Mode } from '../../../registry/state.js'
import type { ProbationRecord } from '../../../rounds/probation.js'
import { client, command, useAnswer } from '../api.js'
import { Interval } from '../../evidence/chart.js'
import { Decision, GateLooks } from '../../evidence/decision.js'
import { Ask } from '../components.js'
import { counted, duration, percent, startOf, time } from '../../format.js'
import { useTopic } from '../live.js'

export function Models() {
  const [changes, setChanges] = useState(0)
  const serving = useTopic<{ version: number }>('model/active')
  const candidate = useTopic<{ round: number }>('model/candidate')
  const mode = useTopic<Mode>('model/mode')
  const train = useTopic<TrainState>('train/state')
  const probation = useTopic<ProbationRecord>('model/probation')
  const { value, problem } = useAnswer(() => client.models.$get(), `${String(serving?.version)} ${String(candidate?.round)} ${String(changes)}`)
  const { value: history } = useAnswer(() => client.history.$get(), `${String(serving?.version)} ${String(candidate?.round)} ${JSON.stringify(mode)} ${String(changes)}`)
  const [compared, setCompared] = useState<number[]>([])
  const act = async (verb: string, payload = {}) => {
    await command(verb, payload)
    setChanges(count => count + 1)
  }
  if (!value) return <p role="status">{problem ?? 'Loading …'}</p>
  const models = value.models as unknown as ModelVersion[]
  const pair = compared.flatMap(version => models.find(model => model.version === version) ?? [])
  return <>
    <section class="card row" aria-label="Mode">
      <p>{mode === undefined ? '' : mode.kind === 'follow' ? 'A challenger that passes the gate serves.' : mode.kind === 'pin' ? `Model ${String(mode.version)} is pinned: it serves whatever passes.` : 'Paused: no round begins, and nothing that passes serves.'}</p>
      {train?.state === 'running' && <p role="status">Round {train.round} runs: {percent(train.fraction, 0)}.</p>}
      {mode?.kind !== 'follow' && <Ask label="Follow" question="From now on a challenger that passes the gate serves." doIt={() => act('follow')} />}
      {mode?.kind !== 'pause' && <Ask label="Pause" question="No round will begin until you say so." doIt={() => act('pause')} />}
      <Ask label="Roll back" danger disabled={!models.some(({ status }) => status === 'former')} question="The model that served before the one of now serves again." doIt={() => act('rollback')} />
      <Ask label="Train now" disabled={train?.state === 'running'} question="A round begins now, with the labels and frames that there are." doIt={() => act('train')} />
    </section>
    {probation?.state === 'running' && <p class="card" role="status">Model {probation.model} is on probation beside model {probation.former}: {probation.frames} of {counted(probation.of, 'frame')}. {probation.explanation}</p>}
    {pair.length === 2 && <Side models={pair} />}
    {models.length === 0 && <p class="card">{train?.state === 'running' ? `There is no model yet. The first round runs: ${percent(train.fraction, 0)}.` : 'There is no model yet. The first round begins once there are labels.'}</p>}
    {models.toReversed().map(model => <Model key={model.version} model={model} active={model.version === value.active} pinned={mode?.kind === 'pin' && mode.version === model.version} compared={compared.includes(model.version)}
      onCompare={on => { setCompared(before => (on ? [...before, model.version].slice(-2) : before.filter(version => version !== model.version))) }}
      promote={() => act('promote', { version: model.version })} pin={() => act('pin', { version: model.version })} />)}
    {history?.entries === null && <p class="card problem">The history of the models is damaged: <code>pawl models verify</code> says where.</p>}
    {history?.entries && history.entries.length > 0 && <History entries={history.entries} />}
  </>
}

interface ModelProps {
  model: ModelVersion
  active: boolean
  pinned: boolean
  compared: boolean
  onCompare: (on: boolean) => void
  promote: () => Promise<void>
  pin: () => Promise<void>
}

function Model({ model: { version, createdAtMs, status, card, decision }, active, pinned, compared, onCompare, promote, pin }: ModelProps) {
  return <section class="card" aria-labelledby={`model-${String(version)}`}>
    <h2 id={`model-${String(version)}`}>Model {version} <span class={`badge ${active ? 'good' : status === 'refused' ? 'bad' : ''}`}>{active ? 'in service' : status}</span>{pinned && <span class="badge">pinned</span>}</h2>
    <p class="faint">{time(createdAtMs)} · {card.method}, {card.preset} · {startOf(card)} · {counted(card.data.labeled, 'label')}, {counted(card.data.unlabeled, 'frame')} · trained {duration(card.seconds)}</p>
    {decision.accuracyChallenger !== null && <Interval label="Right of the promotion images" value={decision.accuracyChallenger} interval={decision.comparison?.intervalChallenger ?? null} />}
    {decision.from && <p>Made by {decision.from.box}, its model {decision.from.version}; judged here.</p>}
    <p>{decision.promoted ? 'Promoted' : 'Refused by the gate'}: {decision.explanation}{!decision.promoted && status !== 'refused' && '. A person has put it in service all the same.'}</p>
    <details><summary>Evidence</summary><Decision decision={decision} /><GateLooks card={card} /></details>
    <div class="row">
      {!active && <Ask label="Promote" question={`Model ${String(version)} serves, whatever was proved of it.${decision.promoted ? '' : ' The gate has refused it.'}`} doIt={promote} danger={!decision.promoted} />}
      {!pinned && <Ask label="Pin" question={`Model ${String(version)} serves and stays, whatever passes the gate.`} doIt={pin} />}
      <label><input type="checkbox" checked={compared} onChange={event => { onCompare(event.currentTarget.checked) }} /> Compare</label>
    </div>
  </section>
}

const changed: Readonly<Record<LineageEntry['change'], (version: string) => string>> = {
  registered: version => `${version} was made`,
  decided: version => `the decision on ${version} was revised`,
  promoted: version => `${version} was put in service`,
  'rolled-back': version => `rolled back to ${version}`,
  retired: () => 'taken out of service',
  mode: () => 'the mode was changed',
  published: version => `${version} was published for other boxes`,
  undone: () => 'undone',
  continued: () => 'the history goes on',
}

function History({ entries }: { entries: readonly LineageEntry[] }) {
  return <details class="card"><summary>History: what was done, when, and why</summary><table>
    <thead><tr><th scope="col">when</th><th scope="col">what</th><th scope="col">why</th></tr></thead>
    <tbody>{entries.toReversed().map(({ sequence, atMs, change, version, why }) => <tr key={sequence}>
      <td>{time(atMs)}</td><td>{changed[change](`model ${String(version)}`)}</td><td>{why}</td>
    </tr>)}</tbody>
  </table></details>
}

function Side({ models }: { models: readonly ModelVersion[] }) {
  const rows: [string, (model: ModelVersion) => string][] = [
    ['made', ({ createdAtMs }) => time(createdAtMs)],
    ['method', ({ card }) => `${card.method}, ${card.preset}`],
    ['labels', ({ card }) => String(card.data.labeled)],
    ['frames', ({ card }) => String(card.data.unlabeled)],
    ['right of the promotion images of its time', ({ decision }) => (decision.accuracyChallenger === null ? '' : percent(decision.accuracyChallenger))],
    ['right of the gate images', ({ card }) => percent(card.validation.accuracy)],
    ['calibration error', model => percent(calibrationErrorOf(model))],
    ['pseudo-labels that counted', ({ card }) => card.pseudoLabels.used.toLocaleString()],
    ['steps', ({ card }) => card.steps.toLocaleString()],
    ['seed', ({ card }) => String(card.seed)],
    ['classes', ({ card }) => card.classes.join(', ')],
  ]
  return <section class="card" aria-label="Two models compared"><table>
    <thead><tr><th scope="col"><span class="unseen">what</span></th>{models.map(({ version }) => <th scope="col" key={version}>Model {version}</th>)}</tr></thead>
    <tbody>{rows.map(([name, of]) => <tr key={name}><th scope="row">{name}</th>{models.map(model => <td key={model.version}>{of(model)}</td>)}</tr>)}</tbody>
  </table></section>
}
