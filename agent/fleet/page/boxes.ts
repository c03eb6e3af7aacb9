/** The rows as they are now: all of them once, then what changes. */
import { useEffect, useState } from 'preact/hooks'
import { messageOf } from '../../dashboard/page/api.js'
import type { ChangesMessage } from '../changes.js'
import { byDevice, type Row } from '../row.js'
import { allBoxes } from './api.js'

export interface Known {
  /** In the order of their names; null: not come yet. */
  rows: readonly Row[] | null
  broker: ChangesMessage['broker']
  /** Whether changes come. */
  live: boolean
  problem: string
}

const againMs = 2000

export function useBoxes(): Known {
  const [known, setKnown] = useState<Known>({ rows: null, broker: null, live: false, problem: '' })
  useEffect(() => {
    let source: EventSource | null = null
    let timer: ReturnType<typeof setTimeout> | undefined
    let ended = false
    const accept = (message: ChangesMessage) => {
      setKnown(({ rows }) => ({ rows: changed(rows ?? [], message), broker: message.broker, live: true, problem: '' }))
    }
    const begin = async () => {
      try {
        const { at, message } = await allBoxes()
        if (ended) return
        accept(message)
        source = new EventSource(`api/changes?since=${encodeURIComponent(at)}`)
        source.onmessage = ({ data }) => { accept(JSON.parse(data as string) as ChangesMessage) }
        source.onopen = () => { setKnown(before => ({ ...before, live: true })) }
        source.onerror = () => {
          setKnown(before => ({ ...before, live: false }))
          // Closed for good: the session has ended, or the server is another one.
          if (source?.readyState === EventSource.CLOSED) again()
        }
      } catch (cause) {
        setKnown(before => ({ ...before, live: false, problem: messageOf(cause) }))
        again()
      }
    }
    const again = () => {
      if (!ended) timer = setTimeout(() => { void begin() }, againMs)
    }
    void begin()
    return () => {
      ended = true
      clearTimeout(timer)
      source?.close()
    }
  }, [])
  return known
}

function changed(rows: readonly Row[], { all, rows: changes, gone }: ChangesMessage): readonly Row[] {
  if (all) return changes.sort(byDevice)
  const newer = new Map(changes.map(row => [row.device, row]))
  const without = new Set(gone)
  const kept = without.size === 0 ? rows : rows.filter(({ device }) => !without.has(device))
  const next = kept.map(row => {
    const now = newer.get(row.device)
    newer.delete(row.device)
    return now ?? row
  })
  return newer.size === 0 ? next : [...next, ...newer.values()].sort(byDevice)
}
