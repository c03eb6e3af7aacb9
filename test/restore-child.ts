/**
 * Restores a backup and is killed as it is about to rename for the nth time, with 0 never: node restore-child.ts DATA FILE N [BUSY]. What is called
 * BUSY cannot be renamed out of the data folder, as a mount point cannot.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

const [, , data = '', file = '', nth = '', busy = ''] = process.argv
const { rename } = fs.promises
let done = 0
fs.promises.rename = async (from, to) => {
  if (++done === Number(nth)) process.kill(process.pid, 'SIGKILL')
  if (busy !== '' && from === join(data, busy)) throw Object.assign(new Error(`EBUSY: resource busy or locked, rename '${from}'`), { code: 'EBUSY' })
  await rename(from, to)
}
syncBuiltinESMExports()
const { restore } = await import('../agent/data/restore.js')
await restore({ data, file, force: true }).catch((cause: unknown) => {
  process.stdout.write(String(cause))
  process.exitCode = 1
})
