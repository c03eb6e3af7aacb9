/** What disks do to files, and people to folders; and what the box makes of each. */
import { mkdir, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Grown } from './grown.js'
import { filesBelow } from './truth.js'

export interface Fault {
  /** Done while the box is down. */
  damage: (grown: Grown) => Promise<void>
  /** What it says about it. */
  says?: RegExp
  /** Which model serves after the start; the newest unless given. */
  serves?: 'former' | 'none'
  /** What it says as it refuses to start; nothing may have changed then. */
  refuses?: RegExp
}

type Harm = (path: string) => Promise<void>

const cutOff: Harm = async path => truncate(path, Math.floor((await readFile(path)).length / 2))
const emptied: Harm = path => truncate(path, 0)
/** What some file systems leave of a file whose bytes were not on the disk yet. */
const zeroed: Harm = async path => writeFile(path, Buffer.alloc((await readFile(path)).length))
const garbled: Harm = path => writeFile(path, 'not what it was')
const flipped: Harm = async path => {
  const bytes = await readFile(path)
  const at = Math.floor(bytes.length * 0.7)
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  const file = await open(path, 'r+')
  try { await file.write(bytes.subarray(at, at + 1), 0, 1, at) } finally { await file.close() }
}
const removed: Harm = path => rm(path, { recursive: true })

const at = (harm: Harm, ...path: string[]) => ({ box }: Grown) => harm(join(box.data, ...path))
/** Some file below a folder of the data folder. */
const some = (harm: Harm, folder: string, name: RegExp) => async ({ box }: Grown) => {
  const [path] = (await filesBelow(join(box.data, folder))).filter(file => name.test(file)).sort()
  if (path === undefined) throw new Error(`there is nothing like ${String(name)} in ${folder}`)
  await harm(path)
}
const allOf = (harm: Harm, folder: string, name: RegExp) => async ({ box }: Grown) => {
  for (const path of (await filesBelow(join(box.data, folder))).filter(file => name.test(file))) await harm(path)
}
const each = (...damages: Fault['damage'][]) => async (grown: Grown) => { for (const damage of damages) await damage(grown) }

const restored = /^REGISTRY_CORRUPT: .*state\.json: .*; restored from .*state\.json\.1/
const setAside = /^put aside /

export const faults = {
  'the registry is cut off': { damage: at(cutOff, 'state.json'), says: restored },
  'the registry is empty': { damage: at(emptied, 'state.json'), says: restored },
  'the registry is all zeros': { damage: at(zeroed, 'state.json'), says: restored },
  'a bit of the registry is wrong': { damage: at(flipped, 'state.json'), says: restored },
  'the registry is gone': { damage: at(removed, 'state.json'), says: restored },
  'the registry and its newest backup are cut off': {
    damage: each(at(cutOff, 'state.json'), at(cutOff, 'state.json.1')), says: /^REGISTRY_CORRUPT: .*; restored from .*state\.json\.2/,
  },
  'the registry and all its backups are zeros': {
    damage: each(...['', '.1', '.2', '.3'].map(age => at(zeroed, `state.json${age}`))), refuses: /REGISTRY_CORRUPT: .*no backup is usable; put a good copy there/,
  },
  'the history is cut off': { damage: at(cutOff, 'lineage.jsonl'), says: /^REGISTRY_CORRUPT: .*lineage\.jsonl/ },
  'the history is all zeros': { damage: at(zeroed, 'lineage.jsonl'), says: /^REGISTRY_CORRUPT: .*lineage\.jsonl/ },
  'the history is gone': { damage: at(removed, 'lineage.jsonl'), says: /^REGISTRY_CORRUPT: .*lineage\.jsonl/ },
  'the key of the box is cut off': { damage: at(cutOff, 'identity', 'private.pem'), says: /^REGISTRY_CORRUPT: .*private\.pem/ },
  'the keys of the box are gone': { damage: at(removed, 'identity') },
  'an event that waits is cut off': { damage: some(cutOff, 'outbox', /\.json$/) },
  'an event that waits is empty': { damage: some(emptied, 'outbox', /\.json$/) },
  'all events that wait are zeros': { damage: allOf(zeroed, 'outbox', /\.json$/) },
  'a folder lies in the outbox': { damage: ({ box }) => mkdir(join(box.data, 'outbox', '000000000099.json', 'x'), { recursive: true }).then(() => undefined) },
  'the interrupted round is cut off': { damage: some(cutOff, 'rounds', /round\.json$/) },
  'the interrupted round is all zeros': { damage: some(zeroed, 'rounds', /round\.json$/) },
  'a checkpoint is cut off': { damage: some(cutOff, 'rounds', /checkpoint\.safetensors$/), says: /^round \d+ \(interrupted\)/ },
  'a bit of a checkpoint is wrong': { damage: some(flipped, 'rounds', /checkpoint\.safetensors$/), says: /^round \d+ \(interrupted\)/ },
  'what the site looks like is cut off': { damage: at(cutOff, 'drift', 'reference.json') },
  'what the reports remember is garbled': { damage: each(...['told', 'answers', 'retained'].map(name => at(garbled, 'report', `${name}.json`))) },
  'what the probation has seen is garbled': { damage: at(garbled, 'probation.json') },
  'what is known of engines is garbled': { damage: ({ box }) => writeFile(join(box.data, 'engines.json'), '{"a":') },
  'all frames are zeros': { damage: allOf(zeroed, 'frames', /\.jpg$/), says: setAside },
  'all frames are cut off': { damage: allOf(cutOff, 'frames', /\.jpg$/), says: setAside },
  'a label is cut off': { damage: some(cutOff, 'labels', /\.png$/), says: setAside },
  'the model in service is cut off': { damage: ({ newest }) => cutOff(join(newest.folder, 'model.onnx')), says: /^MODEL_INVALID: model \d+ .*SHA-256/, serves: 'former' },
  'a bit of the model in service is wrong': { damage: ({ newest }) => flipped(join(newest.folder, 'model.onnx')), says: /^MODEL_INVALID: model \d+ .*SHA-256/, serves: 'former' },
  'the model in service is gone': { damage: ({ newest }) => removed(newest.folder), says: /^MODEL_INVALID: model \d+/, serves: 'former' },
  'no model is there': { damage: at(removed, 'models'), says: /^MODEL_INVALID: model \d+/, serves: 'none' },
  'the weights of the model in service are cut off': { damage: ({ newest }) => cutOff(join(newest.folder, 'weights.safetensors')) },
  'the card of the model in service is empty': { damage: ({ newest }) => emptied(join(newest.folder, 'card.json')) },
  'a file lies where the lock is': { damage: at(garbled, '.holder') },
  'files were being written': {
    damage: async ({ box }) => {
      const places = ['state.json.1', 'drift/alarm.json', 'outbox/000000000001.json', 'report/told.json', 'frames/belt/2026-01-01/1-0123456789ab.jpg', 'quarantine/bag/x.png.reason.txt']
      for (const place of places) {
        await mkdir(join(box.data, place, '..'), { recursive: true })
        await writeFile(join(box.data, `${place}.0a1b2c3d.tmp`), 'half of')
      }
      await mkdir(join(box.data, 'rounds', '999'), { recursive: true })
    },
  },
} as const satisfies Record<string, Fault>

export type FaultName = keyof typeof faults

/** Names and bytes of all that a registry is. */
export async function registryFiles({ box }: Grown): Promise<string[]> {
  const names = (await readdir(box.data)).filter(name => name.startsWith('state.json')).sort()
  return Promise.all(names.map(async name => `${name} ${(await readFile(join(box.data, name))).toString('base64')}`))
}
