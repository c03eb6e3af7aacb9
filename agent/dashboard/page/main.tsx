/** The page: a view for each thing that a person does with the box, chosen by the address. */
import { render, type ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { answered, client } from './api.js'
import { listen, useConnected } from './live.js'
import { Session } from './session.js'
import { Health } from './views/health.js'
import { LabelView } from './views/label.js'
import { Learning } from './views/learning.js'
import { LiveView } from './views/live.js'
import { Models } from './views/models.js'

const views = {
  live: { name: 'Live', View: LiveView },
  label: { name: 'Label', View: LabelView },
  learning: { name: 'Learning', View: Learning },
  models: { name: 'Models', View: Models },
  health: { name: 'Health', View: Health },
} as const

type Box = { device: string; version: string; cameras: readonly string[] }

function Page({ box, leave }: { box: Box; leave: ComponentChildren }) {
  const chosen = useHash()
  const { name, View } = views[chosen]
  const connected = useConnected()
  const main = useRef<HTMLElement>(null)
  const came = useRef(chosen)
  useEffect(() => { listen() }, [])
  useEffect(() => {
    // Keys are for the view from now on, and a screen reader begins there; not for the link that led to it.
    if (came.current !== chosen) {
      main.current?.focus({ preventScroll: true })
      window.scrollTo(0, 0)
    }
    came.current = chosen
  }, [chosen])
  useEffect(() => { document.title = `${name} · ${box.device}` }, [name])
  return <>
    <header>
      <a class="brand" href="#live">{box.device}</a>
      <nav aria-label="Views">
        {Object.entries(views).map(([key, view]) => <a href={`#${key}`} aria-current={key === chosen ? 'page' : undefined}>{view.name}</a>)}
      </nav>
      <span class={connected ? 'link up' : 'link'} role="status">{connected ? 'live' : 'no connection'}</span>
      {leave}
    </header>
    <main ref={main} tabIndex={-1}><h1 class="unseen">{name}</h1><View device={box.device} cameras={box.cameras} /></main>
  </>
}

function useHash(): keyof typeof views {
  const read = () => (Object.keys(views).find(key => key === location.hash.slice(1)) ?? 'live') as keyof typeof views
  const [hash, setHash] = useState(read)
  useEffect(() => {
    const changed = () => { setHash(read()) }
    window.addEventListener('hashchange', changed)
    return () => { window.removeEventListener('hashchange', changed) }
  }, [])
  return hash
}

render(<Session whose="this box" ask={() => answered(client.box.$get())}>{(box, leave) => <Page box={box} leave={leave} />}</Session>, document.body)
