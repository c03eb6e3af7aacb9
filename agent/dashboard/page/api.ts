/** What the page asks the box. */
import { hc } from 'hono/client'
import { useEffect, useState } from 'preact/hooks'
import type { Api } from '../api.js'
import { useConnected } from './live.js'

export const client = hc<Api>(new URL('api', location.href).href.replace(/#.*/, ''))

/** A refusal, in words for people. */
export class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

interface Answer<T> {
  ok: boolean
  status: number
  json: () => Promise<T>
}

/** What the box answers. Errors: Refused, or that it cannot be reached. */
export async function answered<T>(asked: Promise<Answer<T>>): Promise<T> {
  const answer = await asked.catch(() => { throw new Refused(0, 'there is no answer') })
  if (answer.ok) return await answer.json()
  const { error } = await (answer as Answer<unknown>).json().catch(() => ({})) as { error?: { message?: string } }
  if (answer.status === 401) window.dispatchEvent(new Event('pawl-session'))
  throw new Refused(answer.status, error?.message ?? `the answer has the status ${String(answer.status)}`)
}

/** Asks now, and again every so often. Before the first answer, and where there is none, what was answered last stays. */
export function useRepeated<T>(ask: () => Promise<T>, everyMs: number): { value: T | null; problem: string } {
  const [state, setState] = useState<{ value: T | null; problem: string }>({ value: null, problem: '' })
  useEffect(() => {
    const look = () => {
      ask().then(
        value => { setState({ value, problem: '' }) },
        (cause: unknown) => { setState(({ value }) => ({ value, problem: messageOf(cause) })) },
      )
    }
    look()
    const timer = setInterval(look, everyMs)
    return () => { clearInterval(timer) }
  }, [everyMs])
  return state
}

/** Asks now, again when `again` changes, and when the box is back. */
export function useAnswer<T>(ask: () => Promise<Answer<T>>, again: unknown): { value: T | null; problem: string | null } {
  const [state, setState] = useState<{ value: T | null; problem: string | null }>({ value: null, problem: null })
  const connected = useConnected()
  useEffect(() => {
    let current = true
    answered(ask()).then(
      value => { if (current) setState({ value, problem: null }) },
      (cause: unknown) => { if (current) setState(({ value }) => ({ value, problem: messageOf(cause) })) },
    )
    return () => { current = false }
  }, [again, connected])
  return state
}

export async function command(verb: string, payload: object = {}): Promise<void> {
  const asked = fetch(`api/commands/${verb}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(payload) })
  await answered<unknown>(asked)
}

export const frameUrl = (id: string) => `api/frames/${id.split('/').map(encodeURIComponent).join('/')}`

export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
