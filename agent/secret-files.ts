/** The files that hold what others should not know, and which of them others may read all the same. */
import { constants } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Config } from './config.js'
import { withoutPasswords } from './lib/logger.js'

/** `file`: the configuration's own; it counts where an address in it holds a password. */
export async function openSecrets({ mqtt, dashboard, exchange, cameras, data }: Config, file?: string): Promise<{ files: string[]; open: string[] }> {
  const holdsPassword = [mqtt.broker, ...cameras.map(({ url }) => url)].some(address => withoutPasswords(address) !== address)
  const named = [mqtt, dashboard, exchange, ...cameras].map(({ passwordFile }) => passwordFile).concat(mqtt.tls.key, dashboard.tls.key)
  const all = new Set([...named, join(data, 'identity', 'private.pem'), ...file !== undefined && holdsPassword ? [resolve(file)] : []])
  const files = (await Promise.all([...all].filter(path => path !== '').map(async path => (await modeOf(path) === null ? [] : [path])))).flat()
  const open = (await Promise.all(files.map(async path => (await isOpen(path) ? [path] : [])))).flat()
  return { files, open }
}

/** Whether every user of the box may read it: a closed folder on the way there keeps them out. */
export async function isOpen(path: string): Promise<boolean> {
  if (((await modeOf(path) ?? 0) & constants.S_IROTH) === 0) return false
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (((await modeOf(folder) ?? 0) & constants.S_IXOTH) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** Null: there is none, or it cannot be looked at. */
async function modeOf(path: string): Promise<number | null> {
  return stat(path).then(({ mode }) => mode, () => null)
}
