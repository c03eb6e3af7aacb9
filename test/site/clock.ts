/** Another time of day for a daemon and all that it starts; intervals are those of the machine. */

export interface FakeClock {
  /** Days pass so many times as fast. */
  speed?: number
  /** It begins at another time than that of the machine, by so much. */
  offsetMs?: number
  /** At each SIGUSR2 the time jumps by so much. */
  jumpMs?: number
}

/** The environment that has it so. */
export function withClock({ speed = 1, offsetMs = 0, jumpMs = 0 }: FakeClock): { NODE_OPTIONS: string } {
  const program = `const real = Date, beganMs = real.now(); let offset = ${String(offsetMs)}
const now = () => Math.round(beganMs + ${String(speed)} * (real.now() - beganMs) + offset)
if (${String(jumpMs)}) process.on('SIGUSR2', () => { offset += ${String(jumpMs)} })
globalThis.Date = class extends real { constructor(...parts) { if (parts.length) super(...parts); else super(now()) } static now() { return now() } }`
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(program)}` }
}
