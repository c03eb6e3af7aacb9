/** The report of a round with all that it shows. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packageVersion } from '../lib/package-root.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import type { RoundRecords } from '../rounds/records.js'
import { reportOf } from './evidence/report.js'
import { pageFolder } from './files.js'

/** The HTML page of a round, as text. What is not kept any more is left out. */
export async function reportOn(decision: PromotionRecord, { records, device }: { records: RoundRecords; device: string }): Promise<string> {
  const { round } = decision
  const record = await records.read(round)
  const names = record ? [record.reconstruction, ...record.mistakes.map(({ picture }) => picture)].filter(name => name !== null) : []
  const pictures = new Map<string, Uint8Array>()
  for (const name of names) {
    const picture = await records.picture(round, name)
    if (picture) pictures.set(name, picture)
  }
  return reportOf({ device, version: packageVersion(), decision, record, pictures, css: await readFile(join(pageFolder, 'main.css'), 'utf8') })
}
