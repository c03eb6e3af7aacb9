/** Who may see a page: asks for the password where one is needed, and again when the session has ended. */
import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { answered, messageOf } from './api.js'

export interface SessionProps<T> {
  /** Names the password. */
  whose: string
  /** What the page begins with. */
  ask: () => Promise<T>
  /** `leave`: a button, where there is a password. */
  children: (first: T, leave: ComponentChildren) => ComponentChildren
}

export function Session<T>({ whose, ask, children }: SessionProps<T>) {
  const [first, setFirst] = useState<{ value: T; needsPassword: boolean } | 'closed' | null>(null)
  const [problem, setProblem] = useState('')
  const look = async () => {
    try {
      const { open, needsPassword } = await answered<{ open: boolean; needsPassword: boolean }>(fetch('api/session'))
      setFirst(open ? { value: await ask(), needsPassword } : 'closed')
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
  if (first === null) return <main class="login"><p role="status">{problem}</p></main>
  if (first === 'closed') return <Login whose={whose} onOpen={() => { void look() }} />
  const leave = () => { void fetch('api/session', { method: 'DELETE' }).then(look) }
  return <>{children(first.value, first.needsPassword && <button type="button" onClick={leave}>Log out</button>)}</>
}

function Login({ whose, onOpen }: { whose: string; onOpen: () => void }) {
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
      <label for="password">Password of {whose}</label>
      <input id="password" name="password" type="password" autocomplete="current-password" required autofocus />
      <button class="main">Log in</button>
      <p role="alert" class="problem">{problem}</p>
    </form>
  </main>
}
