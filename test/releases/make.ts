/**
 * What a box of this version leaves behind, for the versions to come: a configuration and a data folder with a model in service, its history, labels,
 * frames and an event that the broker has not heard. Once for each release, before its tag: tsx test/releases/make.ts 0.1.0
 */
import { execFile } from 'node:child_process'
import { cp, lstat, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { Box } from '../site/box.js'
import { seldom, shortRounds } from '../site/labels.js'
import { modelInService } from '../chaos/box.js'

const run = promisify(execFile)
const [, , version = ''] = process.argv
if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error('which version? tsx test/releases/make.ts 0.1.0')

const folder = await mkdtemp(join(tmpdir(), 'pawl-release-'))
const box = await Box.in(folder, { rounds: { schedule: seldom, firstMinutes: 0.5 }, frames: { maxBytes: 150_000 } })
const daemon = box.start()
await modelInService(box, daemon)
await daemon.said(/^known by now/, { withinMs: 180_000 })
await box.label()
await box.broker.stop()
await daemon.said(/^broker .*(away|offline|cannot)/)
await run(process.execPath, [join(import.meta.dirname, '..', '..', 'dist', 'agent', 'main.js'), 'models', 'pin', '--config', box.config])
await daemon.end()

const site = join(folder, version)
await mkdir(site)
// A socket cannot be copied.
await cp(box.data, join(site, 'data'), { recursive: true, filter: async path => !(await lstat(path)).isSocket() })
await writeFile(join(site, 'pawl.yaml'), stringify({
  device: 'box-9', data: 'data', cameras: [{ id: 'belt', source: 'simulation', crop: 'whole', maxPerSecond: 5 }], labels: { import: '', importValidation: '' },
  frames: { minFreeBytes: 0, maxBytes: 150_000 }, rounds: { ...shortRounds, schedule: seldom }, drift: { everySeconds: 0, reference: 50, window: 20 },
  monitoring: { port: 0 },
}))
const archive = join(import.meta.dirname, `${version}.tar.xz`)
await run('tar', ['-C', folder, '--owner=0', '--group=0', '--sort=name', '-cJf', archive, version], { env: { ...process.env, XZ_OPT: '-9e' } })
await box.onlooker.close()
await rm(folder, { recursive: true })
