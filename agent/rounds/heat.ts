/** Whether the box is hot, by the thermal zones of Linux (Documentation/driver-api/thermal/sysfs-api.rst). */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Degrees by which it must cool down before it counts as cool again: else a round would stop and go with every breath of the fan. */
const hysteresis = 5
const zones = '/sys/class/thermal'

export class Heat {
  private readonly limit: number
  private readonly celsius: () => Promise<number | null>
  private hot = false

  /** `celsius`: of the hottest place; null: nobody knows. */
  constructor({ limit, celsius = hottestZone }: { limit: number; celsius?: (() => Promise<number | null>) | undefined }) {
    this.limit = limit
    this.celsius = celsius
  }

  /** How hot it is, in words; null while it is not, or nobody knows. */
  async reason(): Promise<string | null> {
    if (this.limit === 0) return null
    const celsius = await this.celsius()
    this.hot = celsius !== null && celsius > (this.hot ? this.limit - hysteresis : this.limit)
    return this.hot && celsius !== null ? `the box is hot: ${celsius.toFixed(0)} °C; it goes on at ${String(this.limit - hysteresis)} °C` : null
  }
}

/** Degrees of the hottest zone; null where there is none that makes sense. Zones may be switched off, and then cannot be read. */
export async function hottestZone(folder = zones): Promise<number | null> {
  const names = (await readdir(folder).catch(() => [])).filter(name => name.startsWith('thermal_zone'))
  const texts = await Promise.all(names.map(name => readFile(join(folder, name, 'temp'), 'utf8').catch(() => '')))
  const sane = texts.map(text => Number(text) / 1000).filter(celsius => celsius > 0 && celsius < 150)
  return sane.length ? Math.max(...sane) : null
}
