/** A command to the boxes that were chosen: asks first, then tells what each answers. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { messageOf } from '../../dashboard/page/api.js'
import { counted } from '../../dashboard/format.js'
import type { Answer, AskProgress } from '../answers.js'
import { answerStates } from '../words.js'
import { answersAddress, answersOf, ask, progressOf, type CommandFacts, type FleetFacts } from './api.js'

export interface Chosen {
  device: string
  online: boolean
}

/** Names and answers that are shown at most: the rest is counted. */
const mostShown = 300
const everyMs = 700

export function AskDialog({ chosen, facts, onClose }: { chosen: readonly Chosen[]; facts: FleetFacts; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [report, setReport] = useState<AskProgress | null>(null)
  useEffect(() => { dialog.current?.showModal() }, [])
  const close = () => { dialog.current?.close() }
  return <dialog ref={dialog} class="wide" aria-label="Command" onClose={onClose}>
    {report
      ? <Report report={report} onReport={setReport} close={close} answerSeconds={facts.answerSeconds} />
      : <Choice chosen={chosen} commands={facts.commands} onReport={setReport} close={close} />}
  </dialog>
}

interface ChoiceProps {
  chosen: readonly Chosen[]
  commands: readonly CommandFacts[]
  onReport: (report: AskProgress) => void
  close: () => void
}

function Choice({ chosen, commands, onReport, close }: ChoiceProps) {
  const [verb, setVerb] = useState<CommandFacts['verb']>('status')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const command = commands.find(({ verb: name }) => name === verb)
  const offline = chosen.filter(({ online }) => !online).length
  const [boxes, asked] = [chosen.length, chosen.length - offline].map(count => counted(count, 'box', 'boxes'))
  const send = async (event: SubmitEvent) => {
    event.preventDefault()
    const version = new FormData(event.currentTarget as HTMLFormElement).get('version')
    setBusy(true)
    try {
      onReport(await ask({ verb, devices: chosen.map(({ device }) => device), payload: typeof version === 'string' && version !== '' ? { version: Number(version) } : {} }))
    } catch (cause) {
      setProblem(messageOf(cause))
      setBusy(false)
    }
  }
  return <form class="asking" onSubmit={event => { void send(event) }}>
    <h2>Command to {boxes}</h2>
    <label for="verb">Command</label>
    <select id="verb" value={verb} onChange={event => { setVerb(event.currentTarget.value as CommandFacts['verb']) }}>{commands.map(({ verb: name }) => <option key={name} value={name}>{name}</option>)}</select>
    <p>{command?.description.replaceAll('`', '')}.</p>
    {command && command.model !== 'none' && <>
      <label for="version">Number of the model{command.model === 'optional' && ' (empty: the one that serves)'}</label>
      <input id="version" name="version" type="number" min={1} step={1} required={command.model === 'needed'} />
    </>}
    <p><strong>{verb}</strong> goes to {asked}{offline > 0 && `; ${counted(offline, 'is', 'are')} offline and will not be asked`}:</p>
    <ul class="names" tabIndex={0} aria-label="Boxes that are asked">{chosen.slice(0, mostShown).map(({ device, online }) => <li key={device}>{device}{!online && <span class="faint"> offline</span>}</li>)}
      {chosen.length > mostShown && <li>and {(chosen.length - mostShown).toLocaleString()} more</li>}</ul>
    <p role="alert" class="problem">{problem}</p>
    <div class="row">
      <button class="main" disabled={busy || offline === chosen.length}>Send to {asked}</button>
      <button type="button" disabled={busy} onClick={close}>Cancel</button>
    </div>
  </form>
}

interface ReportProps {
  report: AskProgress
  onReport: (report: AskProgress) => void
  close: () => void
  answerSeconds: number
}

function Report({ report, onReport, close, answerSeconds }: ReportProps) {
  const [problem, setProblem] = useState('')
  const [open, setOpen] = useState(false)
  useEffect(() => {
    if (report.over) return
    const timer = setTimeout(() => {
      progressOf(report.id).then(next => {
        setProblem('')
        onReport(next)
      }, (cause: unknown) => {
        setProblem(messageOf(cause))
        onReport({ ...report })
      })
    }, everyMs)
    return () => { clearTimeout(timer) }
  }, [report])
  const titles = { error: 'answered with an error', silent: `no answer within ${String(answerSeconds)} s`, offline: 'offline, not asked', waiting: 'waiting', ok: 'ok' }
  const counts = answerStates.map(state => ({ state, count: report.counts[state] })).filter(({ count }) => count > 0)
  return <>
    <h2>{report.verb}: {report.over ? 'all is known' : 'answers are coming in'}</h2>
    <p role="status">{counts.map(({ state, count }) => `${count.toLocaleString()} ${titles[state]}`).join(' · ')}</p>
    <p role="alert" class="problem">{problem}</p>
    {report.over || open ? <Answers report={report} titles={titles} /> : <button type="button" onClick={() => { setOpen(true) }}>Show answers so far</button>}
    <div class="row">
      <button type="button" class="main" onClick={close}>Close</button>
      <a href={answersAddress(report.id)} download={`${report.verb}.json`}>All answers, as JSON</a>
    </div>
  </>
}

/** Those that need a look first, asked for as there are more. */
function Answers({ report: { id, counts }, titles }: { report: AskProgress; titles: Record<Answer['state'], string> }) {
  const [answers, setAnswers] = useState<[string, Answer][]>([])
  const [problem, setProblem] = useState('')
  useEffect(() => {
    let stale = false
    const accept = (all: Record<string, Answer>) => {
      if (!stale) setAnswers(Object.entries(all).sort(([, a], [, b]) => answerStates.indexOf(a.state) - answerStates.indexOf(b.state)))
    }
    answersOf(id, mostShown).then(accept, (cause: unknown) => { setProblem(messageOf(cause)) })
    return () => { stale = true }
  }, [id, JSON.stringify(counts)])
  const more = Object.values(counts).reduce((sum, count) => sum + count, 0) - mostShown
  return <div class="answers" tabIndex={0} role="region" aria-label="Answers">
    <p role="alert" class="problem">{problem}</p>
    <table>
      <thead><tr><th scope="col">Box</th><th scope="col">Answer</th></tr></thead>
      <tbody>{answers.map(([device, answer]) => <tr key={device}><th scope="row">{device}</th><td>{said(answer, titles[answer.state])}</td></tr>)}</tbody>
    </table>
    {more > 0 && <p>{more.toLocaleString()} more; all of them are in the file.</p>}
  </div>
}

function said(answer: Answer, title: string) {
  if (answer.state === 'error') return <span class="problem">{answer.code}: {answer.message}</span>
  if (answer.state !== 'ok') return title
  return <>ok <span class="faint">{'tooLong' in answer ? 'the answer was too long to keep' : JSON.stringify(answer.data)}</span></>
}
