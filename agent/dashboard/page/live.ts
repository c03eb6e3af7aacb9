/** What the box tells as it happens: the newest value of every topic. */
import { useEffect, useState } from 'preact/hooks'
import type { LiveMessage } from '../live.js'

const newest = new Map<string, unknown>()
const listeners = new Set<() => void>()
let source: EventSource | null = null
export let connected = false

const againMs = 2000

/** Begins to listen; a connection that is lost is made again by the browser, one that was refused from here. */
export function listen(): void {
  if (source) return
  source = new EventSource('api/live')
  source.onopen = () => { tell(true) }
  source.onerror = () => {
    tell(false)
    // The session has ended, or something between here and the box has answered for it.
    if (source?.readyState !== EventSource.CLOSED) return
    source = null
    window.dispatchEvent(new Event('pawl-session'))
    setTimeout(listen, againMs)
  }
  source.onmessage = ({ data }) => {
    const { topic, value } = JSON.parse(data as string) as LiveMessage
    newest.set(topic, value)
    tell(true)
  }
}

function tell(now: boolean): void {
  connected = now
  for (const listener of listeners) listener()
}

/** The newest value of a topic; undefined: not told yet. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- who asks knows what its topic carries
export function useTopic<T>(topic: string): T | undefined {
  return useNewest(() => newest.get(topic)) as T | undefined
}

export function useConnected(): boolean {
  return useNewest(() => connected)
}

function useNewest<T>(read: () => T): T {
  const [value, setValue] = useState(read)
  useEffect(() => {
    const listener = () => { setValue(() => read()) }
    listeners.add(listener)
    listener()
    return () => { listeners.delete(listener) }
  }, [])
  return value
}
