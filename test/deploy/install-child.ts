/**
 * Renews the certificate of a box over and over, until it is killed, and says so after the first time: node install-child.ts FOLDER. There, `a` and
 * `b` hold a key and its certificate each (`<name>.key`, `<name>.crt`).
 */
import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Enrollment } from '../../agent/enroll/enrollment.js'
import { systemClock } from '../../agent/lib/clock.js'

const folder = process.argv[2] ?? ''
const enrollment = new Enrollment({ device: 'box-7', identity: join(folder, 'box-7.pem'), clock: systemClock })
for (let turn = 0; ; turn++) {
  const name = turn % 2 === 0 ? 'a' : 'b'
  await copyFile(join(folder, `${name}.key`), enrollment.key)
  await enrollment.install({ pem: await readFile(join(folder, `${name}.crt`), 'utf8'), authority: null })
  if (turn === 0) process.stdout.write('the first is there\n')
}
