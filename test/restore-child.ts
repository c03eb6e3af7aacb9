/** Restores a backup and is killed as it is about to rename for the nth time: node restore-child.ts DATA FILE N. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const [, , data = '', file = '', nth = ''] = process.argv
const { rename } = fs.promises
let left = Number(nth)
fs.promises.rename = async (from, to) => {
  if (--left <= 0) process.kill(process.pid, 'SIGKILL')
  await rename(from, to)
}
syncBuiltinESMExports()
const { restore } = await import('../agent/data/restore.js')
await restore({ data, file, force: true })
