/** The page: a view for each thing that a person does with the box, chosen by the address. */
import { render } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { answered, client, messageOf } from './api.js'
import { listen, useConnected } from './live.js'
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

function Page({ box }: { box: Box }) {
  const chosen = useHash()
  const { name, View } = views[chosen]
  const connected = useConnected()
  const main = useRef<HTMLElement>(null)
  const came = useRef(chosen)
  useEffect(() => { listen() }, [])
  useEffect(() => {
    // Keys are for the view from now on, and a screen reader begins there; not for the link that led to it.
    if (came.current !== chosen) main.current?.focus()
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
    </header>
    <main ref={main} tabIndex={-1}><h1 class="unseen">{name}</h1><View cameras={box.cameras} /></main>
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

function Login({ onOpen }: { onOpen: () => void }) {
  const [problem, setProblem] = useState('')
  const open = async (event: SubmitEvent) => {
    event.preventDefault()
    const password = new FormData(event.currentTarget as HTMLFormElement).get('password')
    try {
      await answered(fetch('api/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ password }) }))
      onOpen()
    } catch (cause) {
      setProblem(messageOf(cause))
    }
  }
  return <main class="login">
    <h1>pawl</h1>
    <form onSubmit={event => { void open(event) }}>
      <label for="password">Password of this box</label>
      <input id="password" name="password" type="password" autocomplete="current-password" required autofocus />
      <button class="main">Log in</button>
      <p role="alert" class="problem">{problem}</p>
    </form>
  </main>
}

function Root() {
  const [box, setBox] = useState<Box | 'closed' | null>(null)
  const [problem, setProblem] = useState('')
  const look = async () => {
    try {
      const { open } = await answered<{ open: boolean }>(fetch('api/session'))
      setBox(open ? await answered(client.box.$get()) : 'closed')
    } catch (cause) {
      setProblem(messageOf(cause))
      setTimeout(() => { void look() }, 2000)
    }
  }
  useEffect(() => {
    void look()
    const ended = () => { void look() }
    window.addEventListener('pawl-session', ended)
    return () => { window.removeEventListener('pawl-session', ended) }
  }, [])
  if (box === null) return <main class="login"><p role="status">{problem}</p></main>
  return box === 'closed' ? <Login onOpen={() => { void look() }} /> : <Page box={box} />
}

render(<Root />, document.body)
