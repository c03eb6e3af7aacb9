/** What a round showed: its losses, the gate, and what its challenger takes for what. */
import type { GateLook } from '../../../trainer/contract.js'
import type { RoundRecord } from '../../rounds/records.js'
import { counted, duration, percent, startOf } from '../format.js'
import { Chart, Wide } from './chart.js'

export interface RoundProps {
  record: RoundRecord
  /** Where a picture of the record is to be found. */
  pictureUrl: (name: string) => string
}

export function Round({ record: { card, losses, classes, confusion, mistakes, reconstruction }, pictureUrl }: RoundProps) {
  const { data, pseudoLabels, validation } = card
  const lossOf = (name: 'reconstruction' | 'labeled' | 'unlabeled') => losses.map(point => ({ x: point.step, y: point[name] }))
  const looks = card.gate.map(look => ({ ...look, x: look.step }))
  return <>
    <p>{card.method}, {card.preset}, {startOf(card)}: {counted(data.labeled, 'label')}, {counted(data.unlabeled, 'frame')}{data.quarantined > 0 && `, ${counted(data.quarantined, 'image')} put aside`}{(data.leaked ?? 0) > 0 && `, ${counted(data.leaked ?? 0, 'label')} left out that judge as well`}; {counted(card.steps, 'step')} in {duration(card.seconds)} on {card.device}. {pseudoLabels.used > 0 ? `${counted(pseudoLabels.used, 'pseudo-label')} counted.` : 'No pseudo-label counted.'} Calibration error {percent(validation.ece)} on the gate images of its round, to which the temperature is fitted.</p>
    <Chart title="Losses by step" series={[
      { name: 'reconstruction', points: lossOf('reconstruction') }, { name: 'labels', points: lossOf('labeled') }, { name: 'pseudo-labels', points: lossOf('unlabeled') },
    ]} />
    <Chart title="The gate for pseudo-labels, on images that were never learned from" shares marked={opened(card.gate, card.steps)} series={[
      { name: 'accuracy of the teacher', points: looks.map(({ x, accuracy: y }) => ({ x, y })) },
      { name: 'right of those it is sure of', points: looks.filter(({ accepted }) => accepted > 0).map(({ x, accepted, correct }) => ({ x, y: correct / accepted })) },
      { name: 'at least so many, surely', points: looks.filter(({ accepted }) => accepted > 0).map(({ x, precisionLowerBound: y }) => ({ x, y })) },
    ]} />
    <Confusion classes={classes} counts={confusion} />
    {mistakes.length > 0 && <>
      <h3>Worst mistakes</h3>
      <p class="faint">What the challenger was surest of, wrongly. Look whether it or the label is wrong.</p>
      <ul class="strip">{mistakes.map(({ picture, label, predicted, confidence }, at) => <li key={at}>
        {picture === null ? <span class="picture empty">gone</span> : <img src={pictureUrl(picture)} alt={`labeled ${label}, taken for ${predicted}`} loading="lazy" />}
        <span><strong>{predicted}</strong> {percent(confidence, 0)}</span><span>labeled {label}</span>
      </li>)}</ul>
    </>}
    {reconstruction !== null && <figure>
      <figcaption>Images that were never learned from; what the mask leaves of them; what the model makes of the rest</figcaption>
      <Wide label="Reconstruction"><img class="reconstruction" src={pictureUrl(reconstruction)} alt="originals, masked and reconstructed, a column each" loading="lazy" /></Wide>
    </figure>}
  </>
}

/** Stretches of steps in which the gate was open. */
function opened(gate: readonly GateLook[], steps: number): { name: string; from: number; to: number }[] {
  return gate.flatMap((look, at) => (look.open ? [{ name: 'gate open', from: look.step, to: gate[at + 1]?.step ?? steps }] : []))
}

function Confusion({ classes, counts }: { classes: readonly string[]; counts: readonly (readonly number[])[] }) {
  return <Wide label="Confusion matrix"><table class="confusion">
    <caption>What the promotion images show (rows) and what the challenger takes them for (columns)</caption>
    <thead><tr><th scope="col"><span class="unseen">shows</span></th>{classes.map(name => <th scope="col" key={name}>{name}</th>)}<th scope="col">right</th></tr></thead>
    <tbody>{classes.map((name, row) => {
      const own = counts[row] ?? []
      const all = own.reduce((sum, count) => sum + count, 0)
      return <tr key={name}>
        <th scope="row">{name}</th>
        {own.map((count, column) => <td key={classes[column]} class={row === column ? 'right' : undefined} style={{ '--share': all > 0 ? count / all : 0 }}>{count}</td>)}
        <td>{all > 0 ? percent((own[row] ?? 0) / all, 0) : '–'}</td>
      </tr>
    })}</tbody>
  </table></Wide>
}
