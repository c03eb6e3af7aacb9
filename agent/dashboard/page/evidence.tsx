/** Why a challenger was promoted or refused, in numbers. */
import type { ModelCard } from '../../../trainer/contract.js'
import type { PromotionRecord } from '../../rounds/promotion.js'
import { Interval } from './components.js'
import { counted, percent } from './format.js'

export function Evidence({ decision, card }: { decision: PromotionRecord; card: ModelCard | null }) {
  const { comparison } = decision
  return <>
    {comparison && <>
      <p>{counted(comparison.images, 'image')} that neither model learned from{comparison.scenes === undefined || comparison.scenes === comparison.images ? '' : ` (${counted(comparison.scenes, 'scene')})`}{decision.champion === null ? '.' : `: ${String(comparison.wins)} that only the challenger has right, ${String(comparison.losses)} that only model ${String(decision.champion)} has. p = ${comparison.p.toPrecision(2)}, to be below ${comparison.alpha.toPrecision(2)} at the ${ordinal(comparison.attempt)} look; gained at least ${percent(comparison.gainLowerBound)} (95 %).`}</p>
      <Interval label="Challenger" value={decision.accuracyChallenger ?? 0} interval={comparison.intervalChallenger} />
      {decision.accuracyChampion !== null && <Interval label="Champion" value={decision.accuracyChampion} interval={comparison.intervalChampion} />}
      <table>
        <caption>By class: images of the promotion split, and how many are right</caption>
        <thead><tr><th scope="col">Class</th><th scope="col">Images</th><th scope="col">Challenger</th><th scope="col">Champion</th></tr></thead>
        <tbody>{comparison.perClass.map(row => <tr key={row.class}><th scope="row">{row.class}</th><td>{row.images}</td><td>{row.challenger}</td><td>{row.champion ?? '–'}</td></tr>)}</tbody>
      </table>
    </>}
    {card && card.gate.length > 0 && <table>
      <caption>Looks of the pseudo-label gate</caption>
      <thead><tr><th scope="col">Step</th><th scope="col">Gate</th><th scope="col">Sure of</th><th scope="col">Right</th><th scope="col">Precision at least</th><th scope="col">Accuracy</th></tr></thead>
      <tbody>{card.gate.map(look => <tr key={look.step}><td>{look.step}</td><td>{look.open ? 'open' : 'closed'}</td><td>{look.accepted}</td><td>{look.correct}</td><td>{percent(look.precisionLowerBound)}</td><td>{percent(look.accuracy)}</td></tr>)}</tbody>
    </table>}
  </>
}

function ordinal(count: number): string {
  return `${String(count)}${count % 100 > 10 && count % 100 < 14 ? 'th' : ['th', 'st', 'nd', 'rd'][count % 10] ?? 'th'}`
}
