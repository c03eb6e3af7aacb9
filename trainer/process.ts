/** A round in a child process: takes one RoundSpec, reports as it goes, answers once, ends. */
import { RoundError, type TrainerReply, type TrainerRequest } from './contract.js'
import { runRound } from './round.js'

const controller = new AbortController()

function reply(message: TrainerReply): Promise<void> {
  return new Promise(resolve => {
    if (process.send) process.send(message, () => { resolve() })
    else resolve()
  })
}

async function round(request: Extract<TrainerRequest, { type: 'round' }>): Promise<void> {
  try {
    const result = await runRound(request.spec, {
      signal: controller.signal,
      onEvent: event => { void reply({ type: 'event', event }) },
    })
    await reply({ type: 'result', result })
  } catch (cause) {
    const error = cause instanceof RoundError ? cause : new RoundError('crashed', cause instanceof Error ? cause.message : String(cause))
    await reply({ type: 'failed', reason: error.reason, message: error.message })
  }
  process.exit(0)
}

process.on('message', (request: TrainerRequest) => {
  if (request.type === 'round') void round(request)
  else controller.abort()
})
// Without its agent a round has nobody to answer to.
process.on('disconnect', () => { process.exit(1) })
// A signal to the whole group (Ctrl-C) is the agent's to handle: it tells the round to stop.
process.on('SIGINT', () => undefined)
