/** What the page asks the server of the fleet. */
import { hc } from 'hono/client'
import type { FleetApi } from '../api.js'
import { answered } from '../../dashboard/page/api.js'
import type { AskProgress, AskReport } from '../answers.js'
import type { Ask } from '../asking.js'
import type { ChangesMessage } from '../changes.js'

export const client = hc<FleetApi>(new URL('api', location.href).href.replace(/#.*/, ''))

export const fleetFacts = () => answered(client.fleet.$get())
export type FleetFacts = Awaited<ReturnType<typeof fleetFacts>>
export type CommandFacts = FleetFacts['commands'][number]

export const allBoxes = () => answered<{ at: string; message: ChangesMessage }>(fetch('api/boxes'))
export const boxOf = (device: string) => client.boxes[':device'].$get({ param: { device } })
export const ask = (asked: Ask) => answered<AskProgress>(fetch('api/asks', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(asked) }))
export const progressOf = (id: string) => answered<AskProgress>(fetch(`api/asks/${id}`))
export const answersOf = async (id: string, most: number) => (await answered<AskReport>(fetch(`${answersAddress(id)}?most=${String(most)}`))).answers
export const answersAddress = (id: string) => `api/asks/${id}/answers`
