/** The evidence of a round as one HTML page that needs nothing else: to send, to print, to keep. */
import { render } from 'preact-render-to-string'
import type { PromotionRecord } from '../../rounds/promotion.js'
import type { RoundRecord } from '../../rounds/records.js'
import { time } from '../format.js'
import { Decision, GateLooks } from './decision.js'
import { Round } from './round.js'

export interface ReportOptions {
  device: string
  version: string
  decision: PromotionRecord
  /** Null: nothing but the decision is known. */
  record: RoundRecord | null
  /** JPEG or PNG bytes by name. */
  pictures: ReadonlyMap<string, Uint8Array>
  css: string
}

/** The whole page, as text. */
export function reportOf({ device, version, decision, record, pictures, css }: ReportOptions): string {
  const { round, promoted, reason, explanation, decidedAtMs } = decision
  const title = `Round ${String(round)} · ${device}`
  // Nothing in it runs, and nothing is fetched.
  const policy = 'default-src \'none\'; style-src \'unsafe-inline\'; img-src data:'
  return `<!doctype html>${render(<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta http-equiv="Content-Security-Policy" content={policy} />
      <meta name="generator" content={`pawl ${version}`} />
      <title>{title}</title>
      <style dangerouslySetInnerHTML={{ __html: css }} />
    </head>
    <body><main>
      <section class="card">
        <h1>{title} <span class={`badge ${promoted ? 'good' : 'bad'}`}>{promoted ? 'promoted' : reason}</span></h1>
        <p class="faint">{time(decidedAtMs)}</p>
        <p>{explanation}</p>
        <Decision decision={decision} />
      </section>
      {record === null
        ? <section class="card"><p>Nothing more is kept of this round.</p></section>
        : <section class="card"><Round record={record} pictureUrl={name => dataUrl(pictures.get(name))} /><GateLooks card={record.card} /></section>}
    </main></body>
  </html>)}\n`
}

const pngBegins = 0x89

function dataUrl(image: Uint8Array | undefined): string {
  if (!image) return 'data:,'
  return `data:image/${image[0] === pngBegins ? 'png' : 'jpeg'};base64,${Buffer.from(image).toString('base64')}`
}
