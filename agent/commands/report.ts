import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { reportOn } from '../dashboard/reports.js'
import { PawlError } from '../errors.js'
import { RoundRecords } from '../rounds/records.js'
import { configOf, readRegistry } from './data.js'
import { print, type OutputOptions } from './output.js'

type Options = OutputOptions & { config?: string | undefined; round?: number | undefined; out?: string | undefined }

/** Writes the evidence of a round, the last one unless another is named, as one HTML page. Errors: COMMAND_INVALID, naming the rounds there are. */
export async function report({ round: wanted, out, ...options }: Options): Promise<void> {
  const config = await configOf(options)
  const { data, device } = config
  const decisions = (await readRegistry(config)).decisions()
  const decision = wanted === undefined ? decisions.at(-1) : decisions.find(({ round }) => round === wanted)
  if (!decision) {
    const known = decisions.length > 0 ? `it knows the rounds ${decisions.map(({ round }) => String(round)).join(', ')}` : 'there was none yet'
    throw new PawlError('COMMAND_INVALID', `${data} knows no round${wanted === undefined ? '' : ` ${String(wanted)}`}; ${known}`)
  }
  const { round } = decision
  const records = new RoundRecords({ folder: join(data, 'records'), onProblem: message => { process.stderr.write(`pawl: ${message}\n`) } })
  const html = await reportOn(decision, { records, device })
  const file = out ?? `round-${String(round)}.html`
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, html)
  } catch (cause) {
    throw new PawlError('COMMAND_INVALID', `${file} cannot be written (${cause instanceof Error ? cause.message : String(cause)}); name another with --out`, { cause })
  }
  print(options, { round, file, bytes: Buffer.byteLength(html) }, [`the evidence of round ${String(round)} is in ${file}`])
}
