/**
 * What is known of a box at a glance, and how rows are chosen and put in order: the same on the page and in the terminal.
 * Null: the box has not said.
 */
export interface Row {
  device: string
  online: boolean | null
  /** When a box that is not online was heard last, by its own clock. */
  heardAtMs: number | null
  /** Of pawl. */
  version: string | null
  health: 'ok' | 'degraded' | null
  /** Now, in words. */
  wrong: readonly string[]
  cameras: number
  /** Those that are not online, by name; none of a box that is not online itself: how its cameras are is unknown. */
  camerasDown: readonly string[]
  model: number | null
  /** On the promotion images, 0 to 1. */
  accuracy: number | null
  mode: 'follow' | 'pin' | 'pause' | null
  /** The newest that was decided. */
  round: { round: number; promoted: boolean; reason: string; decidedAtMs: number } | null
  /** While a round runs at a box that is online: 0 to 1. */
  running: { round: number | null; phase: string | null; fraction: number } | null
  drift: 'off' | 'gathering' | 'watching' | 'alarm' | null
  frames: number | null
  frameBytes: number | null
}

export const filters = {
  offline: { title: 'offline', keeps: ({ online }: Row) => online !== true },
  degraded: { title: 'degraded', keeps: ({ health, online }: Row) => online === true && health === 'degraded' },
  drift: { title: 'drift', keeps: ({ drift }: Row) => drift === 'alarm' },
  cameras: { title: 'cameras down', keeps: ({ camerasDown }: Row) => camerasDown.length > 0 },
  running: { title: 'round running', keeps: ({ running }: Row) => running !== null },
  refused: { title: 'last refused', keeps: ({ round }: Row) => round?.promoted === false },
} as const satisfies Record<string, { title: string; keeps: (row: Row) => boolean }>

export type FilterName = keyof typeof filters
export const filterNames = Object.keys(filters) as FilterName[]

/** What a column is sorted by; what is null goes last, whichever way. */
export const columns = {
  device: { title: 'Box', key: ({ device }: Row) => device },
  state: { title: 'State', key: ({ online, health }: Row) => (online === true ? (health === 'ok' ? 2 : 1) : 0) },
  cameras: { title: 'Cameras', key: ({ online, camerasDown }: Row) => (online === true ? camerasDown.length : null) },
  model: { title: 'Model', key: ({ model }: Row) => model },
  accuracy: { title: 'Accuracy', key: ({ accuracy }: Row) => accuracy },
  round: { title: 'Last round', key: ({ round }: Row) => round?.decidedAtMs ?? null },
  drift: { title: 'Drift', key: ({ drift }: Row) => (drift === null ? null : ['off', 'gathering', 'watching', 'alarm'].indexOf(drift)) },
  frames: { title: 'Frames', key: ({ frameBytes }: Row) => frameBytes },
  version: { title: 'pawl', key: ({ version }: Row) => version },
  wrong: { title: 'What is wrong', key: ({ wrong }: Row) => wrong[0] ?? null },
} as const satisfies Record<string, { title: string; key: (row: Row) => string | number | null }>

export type ColumnName = keyof typeof columns
export const columnNames = Object.keys(columns) as ColumnName[]

export interface View {
  search: string
  /** All of them have to keep a row. */
  filters: readonly FilterName[]
  sort: ColumnName
  descending: boolean
}

export const wholeView: View = { search: '', filters: [], sort: 'device', descending: false }

const collator = new Intl.Collator('en', { numeric: true })
/** By their names, `box-9` before `box-10`. */
export const byDevice = (a: Row, b: Row) => collator.compare(a.device, b.device)

/** The rows of a view; `rows` are in the order of `byDevice`, which decides between equal ones. */
export function viewed(rows: readonly Row[], { search, filters: names, sort, descending }: View): readonly Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(word => word !== '')
  const kept = rows.filter(row => names.every(name => filters[name].keeps(row)) && (words.length === 0 || says(row, words)))
  if (sort === 'device') return descending ? kept.reverse() : kept
  const { key } = columns[sort]
  const keyed = kept.map((row, index) => ({ row, index, by: key(row) }))
  const way = descending ? -1 : 1
  keyed.sort((a, b) => {
    if (a.by === b.by) return a.index - b.index
    if (a.by === null || b.by === null) return a.by === null ? 1 : -1
    return way * (typeof a.by === 'string' && typeof b.by === 'string' ? collator.compare(a.by, b.by) : a.by < b.by ? -1 : 1)
  })
  return keyed.map(({ row }) => row)
}

/** Whether each word is in what a row says. */
function says({ device, version, wrong, round }: Row, words: readonly string[]): boolean {
  const text = `${device} ${version ?? ''} ${round?.reason ?? ''} ${wrong.join(' ')}`.toLowerCase()
  return words.every(word => text.includes(word))
}
