/** Models between boxes: what this one gives, and what it takes to be judged. */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.js'
import { PawlError, type ErrorCode } from '../errors.js'
import type { Clock } from '../lib/clock.js'
import { secretOf } from '../lib/secret.js'
import type { Registry } from '../registry/registry.js'
import type { GivenModel } from '../rounds/learning.js'
import { isVerdict } from '../rounds/promotion.js'
import { ExchangeMemory } from './memory.js'
import { trustedBoxes, type Offer, type TrustedBox } from './offer.js'
import { Publisher } from './publisher.js'
import { Receiver, type Judgement } from './receiver.js'
import { Repository } from './repository.js'

export interface ExchangeOptions {
  config: Config['exchange']
  device: string
  /** The data folder. */
  data: string
  /** Of rounds and frames: what a model must be like, and what stays free on the disk. */
  preset: string
  minFreeBytes: number
  registry: Pick<Registry, 'active' | 'list' | 'probation' | 'folderOf' | 'published' | 'key' | 'decisions'>
  onOffer: (offer: Offer | null) => void
  onProblem: (code: ErrorCode, message: string) => void
  clock: Clock
  signal: AbortSignal
  random: () => number
}

/** What was told last is not told again; more reasons than this are not kept apart. */
const mostTold = 100

export class Exchange {
  private readonly options: ExchangeOptions
  private readonly memory: ExchangeMemory
  private publisher: Publisher | null = null
  private receiver: Receiver | null = null
  private trusted: TrustedBox[] = []
  /** Signature of what is offered; null: nothing is; undefined: nothing was said yet. */
  private offered: string | null | undefined = undefined
  private readonly told = new Set<string>()

  constructor(options: ExchangeOptions) {
    const { data, onProblem } = options
    this.options = options
    this.memory = new ExchangeMemory({ path: join(data, 'exchange.json'), onProblem: message => { onProblem('EXCHANGE_UNAVAILABLE', message) } })
  }

  /** Off unless a registry is named. */
  async start(): Promise<void> {
    const { config, device, data, preset, minFreeBytes, registry, clock, signal, random } = this.options
    const folder = join(data, 'exchange')
    // What an earlier start has fetched: it is fetched anew where it is still wanted.
    await rm(folder, { recursive: true, force: true }).catch((cause: unknown) => { this.tell(cause) })
    if (config.registry === '') return
    await this.memory.start()
    const repository = repositoryOf(config)
    const onProblem = (cause: unknown) => { this.tell(cause) }
    const shared = { repository, memory: this.memory, onProblem, signal, random }
    const onOffer = (offer: Offer | null) => { this.offer(offer) }
    if (config.publish) this.publisher = new Publisher({ ...shared, device, place: placeOf(config), registry, onOffer })
    if (config.trust === '') return
    const { boxes, problems } = await trustedBoxes(config.trust, device)
    for (const problem of problems) this.options.onProblem('CONFIG_INVALID', problem)
    this.trusted = boxes
    this.receiver = new Receiver({
      ...shared, folder, boxes, maxBytes: config.maxBytes, minFreeBytes, clock,
      verdicts: box => registry.decisions().flatMap(decision => {
        const { from, decidedAtMs: atMs } = decision
        return from?.box === box && isVerdict(decision) ? [{ digest: from.digest, atMs }] : []
      }),
      wanted: () => ({ preset, classes: registry.active()?.card.classes ?? [] }),
    })
    this.receiver.start()
  }

  /** Before, the signal must have fired. */
  async stop(): Promise<void> {
    await Promise.all([this.publisher?.stop(), this.receiver?.stop()])
    await this.memory.stop()
  }

  /** Names of the boxes whose offers are listened to. */
  get boxes(): readonly string[] {
    return this.trusted.map(({ name }) => name)
  }

  /** What stands at the broker as the offer of a box; empty: nothing. */
  heard(box: string, payload: Uint8Array): void {
    this.receiver?.heard(box, payload)
  }

  /** What serves, or whether it is on probation, may have changed. */
  served(): void {
    this.publisher?.look()
  }

  /** Why models are not exchanged now, though some are to be; null: none wait for the registry. */
  get away(): string | null {
    const reason = this.publisher?.away ?? this.receiver?.away ?? null
    return reason === null ? null : `models are not exchanged: ${reason}`
  }

  /** Whether a model of another box waits to be judged. */
  get ready(): boolean {
    return this.receiver?.ready ?? false
  }

  /** The one that waits; null: none does any more. */
  async take(): Promise<GivenModel | null> {
    return await this.receiver?.take() ?? null
  }

  /** How the round of what was taken ended. */
  async settle(judgement: Judgement): Promise<void> {
    await this.receiver?.settle(judgement)
  }

  private offer(offer: Offer | null): void {
    const signature = offer?.signed.signature ?? null
    if (signature === this.offered) return
    this.offered = signature
    this.options.onOffer(offer)
  }

  private tell(cause: unknown): void {
    const message = cause instanceof Error ? cause.message : String(cause)
    if (this.told.has(message)) return
    if (this.told.size >= mostTold) this.told.clear()
    this.told.add(message)
    this.options.onProblem(cause instanceof PawlError ? cause.code : 'EXCHANGE_UNAVAILABLE', message)
  }
}

/** As tools take it, without the protocol. */
function placeOf({ registry, repository }: Config['exchange']): string {
  return `${new URL(registry).host}/${repository}`
}

/** The repository of a configuration that names a registry. */
export function repositoryOf(config: Config['exchange']): Repository {
  const { registry, repository, username, passwordFile, ca } = config
  return new Repository({
    registry,
    repository,
    username,
    password: () => secretOf({ key: 'exchange.passwordFile', file: passwordFile, variable: 'PAWL_REGISTRY_PASSWORD' }),
    ca: async () => {
      if (ca === '') return null
      return readFile(ca).catch((cause: unknown) => {
        throw new PawlError('CONFIG_INVALID', `exchange.ca is "${ca}", which cannot be read`, { cause })
      })
    },
  })
}
