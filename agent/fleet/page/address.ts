/** What is looked at stands in the address, behind its #: it can be kept, sent, and gone back from. */
import { useEffect, useState } from 'preact/hooks'
import { columnNames, filterNames, wholeView, type View } from '../row.js'

export interface Place {
  view: View
  /** The box that is open; null: none. */
  box: string | null
}

function read(): Place {
  const said = new URLSearchParams(location.hash.slice(1))
  const names = (said.get('filter') ?? '').split(',')
  const [, minus, column] = /^(-?)(.*)$/.exec(said.get('sort') ?? '') ?? []
  return {
    box: said.get('box'),
    view: {
      search: said.get('search') ?? '',
      filters: filterNames.filter(name => names.includes(name)),
      sort: columnNames.find(name => name === column) ?? wholeView.sort,
      descending: minus === '-',
    },
  }
}

export function addressOf({ view: { search, filters, sort, descending }, box }: Place): string {
  const said = new URLSearchParams()
  if (search) said.set('search', search)
  if (filters.length > 0) said.set('filter', filters.join(','))
  if (sort !== wholeView.sort || descending) said.set('sort', `${descending ? '-' : ''}${sort}`)
  if (box !== null) said.set('box', box)
  return `#${said.toString()}`
}

/** `go` makes a step that one can go back from, unless it is a `small` one. */
export function usePlace(): [Place, (next: Partial<Place>, small?: boolean) => void] {
  const [place, setPlace] = useState(read)
  useEffect(() => {
    const changed = () => { setPlace(read()) }
    window.addEventListener('hashchange', changed)
    window.addEventListener('popstate', changed)
    return () => {
      window.removeEventListener('hashchange', changed)
      window.removeEventListener('popstate', changed)
    }
  }, [])
  const go = (next: Partial<Place>, small = false) => {
    const address = addressOf({ ...read(), ...next })
    if (small) history.replaceState(null, '', address)
    else history.pushState(null, '', address)
    setPlace(read())
  }
  return [place, go]
}
