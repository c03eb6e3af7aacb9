/** Why a challenger was promoted or refused, in numbers. */
import type { ModelCard } from '../../../trainer/contract.js'
import type { PromotionRecord } from '../../rounds/promotion.js'
import { counted, percent } from '../format.js'
import { Interval, Wide } from './chart.js'

export function Decision({ decision }: { decision: PromotionRecord }) {
  const { comparison, champion } = decision
  if (!comparison) return null
  const { newClasses = [], p, alpha, attempt } = comparison
  const { images, scenes = images, wins, losses, gainLowerBound, intervalChallenger, intervalChampion, perClass } = comparison
  return <>
    <p>{counted(images, 'image')} that {champion === null ? 'it did not learn' : 'neither model learned'} from{scenes === images ? '' : ` (${counted(scenes, 'scene')})`}{champion === null ? '.' : `: ${String(wins)} that only the challenger has right, ${String(losses)} that only model ${String(champion)} has. ${newClasses.length > 0 ? `As that one cannot name ${newClasses.join(', ')}, either of two tests is enough, by image or with that counted as ${newClasses.length === 1 ? 'one' : String(newClasses.length)} of all classes` : 'The exact test decides'}: p = ${p.toPrecision(2)}, to be below ${alpha.toPrecision(2)} at the ${ordinal(attempt)} look. By an approximate bound (95 %) the gain is at least ${percent(gainLowerBound)}.`}</p>
    <Interval label="Challenger" value={decision.accuracyChallenger ?? 0} interval={intervalChallenger} />
    {decision.accuracyChampion !== null && <Interval label="Champion" value={decision.accuracyChampion} interval={intervalChampion} />}
    <Wide label="By class"><table>
      <caption>By class: images of the promotion split, and how many are right</caption>
      <thead><tr><th scope="col">Class</th><th scope="col">Images</th><th scope="col">{champion === null ? 'Right' : 'Challenger'}</th>{champion !== null && <th scope="col">Champion</th>}</tr></thead>
      <tbody>{perClass.map(row => <tr key={row.class}><th scope="row">{row.class}</th><td>{row.images}</td><td>{row.challenger}</td>{champion !== null && <td>{row.champion ?? '–'}</td>}</tr>)}</tbody>
    </table></Wide>
  </>
}

export function GateLooks({ card }: { card: ModelCard }) {
  if (card.gate.length === 0) return null
  return <Wide label="Looks of the gate"><table>
    <caption>Looks of the pseudo-label gate</caption>
    <thead><tr><th scope="col">Step</th><th scope="col">Gate</th><th scope="col">Sure of</th><th scope="col">Right</th><th scope="col">Precision at least</th><th scope="col">Accuracy</th></tr></thead>
    <tbody>{card.gate.map(look => <tr key={look.step}><td>{look.step}</td><td>{look.open ? 'open' : 'closed'}</td><td>{look.accepted}</td><td>{look.correct}</td><td>{percent(look.precisionLowerBound)}</td><td>{percent(look.accuracy)}</td></tr>)}</tbody>
  </table></Wide>
}

function ordinal(count: number): string {
  return `${String(count)}${count % 100 > 10 && count % 100 < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][count % 10] ?? 'th'}`
}
