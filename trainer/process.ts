/** A round in a child process: takes one RoundSpec, reports as it goes, stands still when it is asked to, answers once, ends. */
import { RoundError, type RoundEvent, type TrainerReply, type TrainerRequest } from './contract.js'
import { runRound } from './round.js'
import { Turns } from './turns.js'

const controller = new AbortController()
let turns: Turns | null = null

function reply(message: TrainerReply): Promise<void> {
  return new Promise(resolve => {
    if (process.send) process.send(message, () => { resolve() })
    else resolve()
  })
}

async function round({ spec, cpuShare }: Extract<TrainerRequest, { type: 'round' }>): Promise<void> {
  const { signal } = controller
  const onEvent = (event: RoundEvent) => { void reply({ type: 'event', event }) }
  turns = new Turns({ signal, cpuShare, onPause: reason => { onEvent({ type: 'pause', reason }) } })
  try {
    const result = await runRound(spec, { signal, turns, onEvent })
    await reply({ type: 'result', result })
  } catch (cause) {
    const error = cause instanceof RoundError ? cause : new RoundError('crashed', cause instanceof Error ? cause.message : String(cause))
    await reply({ type: 'failed', reason: error.reason, message: error.message })
  }
  process.exit(0)
}

process.on('message', (request: TrainerRequest) => {
  switch (request.type) {
    case 'round':
      void round(request)
      return
    case 'pause':
      if (request.reason === null) turns?.resume()
      else turns?.pause(request.reason)
      return
    case 'stop': controller.abort()
  }
})
// Without its agent a round has nobody to answer to.
process.on('disconnect', () => { process.exit(1) })
// A signal to the whole group (Ctrl-C) is the agent's to handle: it tells the round to stop.
process.on('SIGINT', () => undefined)
