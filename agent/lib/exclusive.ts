import { randomBytes } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PawlError } from '../errors.js'
import { writableFolder } from './ownership.js'

const fileName = '.holder'
const retryMs = 250
/** Two that find the same dead holder both take its place; after so long the later one has, and the earlier one sees it. */
const settleMs = 100

/**
 * Holds a folder for one process until the returned function is called. The holder listens on a socket in the folder, which the system closes
 * with the process however that ends: a dead one is known at once, whatever the clock says, and nothing is written while a folder is held.
 * `patienceMs` is for a holder that is about to end, the one before a restart. Errors: DATA_LOCKED when another process holds it;
 * DATA_UNWRITABLE; what the file system says where it takes no socket.
 */
export async function holdFolder(folder: string, patienceMs = 12_000): Promise<() => Promise<void>> {
  await writableFolder(folder)
  const untilMs = performance.now() + patienceMs
  for (;;) {
    const release = await tryToHold(folder)
    if (release) return release
    if (performance.now() > untilMs) {
      throw new PawlError('DATA_LOCKED', `${folder}: another pawl works on this data folder; stop it, or choose another folder with the key "data"`)
    }
    await sleep(retryMs)
  }
}

async function tryToHold(folder: string): Promise<(() => Promise<void>) | null> {
  const opened = await open(folder, 'r')
  // The path of a socket has 107 bytes at most; by its open folder it is short.
  const at = (name: string) => (process.platform === 'linux' ? `/proc/self/fd/${String(opened.fd)}/${name}` : join(folder, name))
  const server = createServer(socket => { socket.destroy() }).unref()
  const leave = async () => {
    if (server.listening) await new Promise(resolve => server.close(resolve))
    await opened.close()
  }
  try {
    if (await answers(at(fileName))) return await leave().then(() => null)
    const own = at(`${fileName}.${randomBytes(4).toString('hex')}.tmp`)
    await listen(server, own)
    const { ino } = await stat(own)
    await rename(own, at(fileName))
    const held = async () => (await stat(at(fileName)).catch(() => null))?.ino === ino
    await sleep(settleMs)
    if (!await held()) return await leave().then(() => null)
    return async () => {
      if (await held()) await rm(at(fileName))
      await leave()
    }
  } catch (cause) {
    await leave()
    throw cause
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => { resolve() })
  })
}

/** Whether a process listens: also one that is stopped, or has no time to answer. */
function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (cause: NodeJS.ErrnoException) => { resolve(cause.code !== 'ECONNREFUSED' && cause.code !== 'ENOENT') })
  })
}
