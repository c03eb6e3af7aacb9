/** The class folders in and out: a person may have labeled elsewhere, or want to go on there. */
import { useState } from 'preact/hooks'
import type { ImportOutcome } from '../../api.js'
import { mostRequestBytes } from '../../../web/limits.js'
import { bytes as toldBytes, counted } from '../../format.js'
import { answered, messageOf } from '../api.js'

/** Bytes and images that are sent together; a larger image goes alone. */
const most = { bytes: 8e6, images: 100 } as const
/** Of one image: what is around it in the request takes less than 64 kB. */
const mostImageBytes = mostRequestBytes - 65_536
const image = /\.(jpe?g|png|webp)$/i

interface Upload {
  label: string
  file: File
}

/** What is about to be imported, once a person has seen what it is. */
interface Chosen {
  uploads: Upload[]
  /** Files that are no images, and images that lie in no folder of a class. */
  passedOver: { others: number; loose: number; large: File[] }
}

export function Folders({ onImported }: { onImported: () => void }) {
  const [chosen, setChosen] = useState<Chosen | null>(null)
  const [said, setSaid] = useState('')
  const [refused, setRefused] = useState<string[]>([])
  const [busy, setBusy] = useState(false)
  const choose = (files: readonly File[]) => {
    setSaid('')
    setRefused([])
    setChosen(chosenFrom(files))
  }
  const take = async ({ uploads }: Chosen) => {
    let [taken, there, failed] = [0, 0, 0]
    setBusy(true)
    try {
      for (const batch of batches(uploads)) {
        // What could not be sent does not keep the others back.
        const outcomes = await send(batch).catch((cause: unknown) => batch.map(({ file: { name } }): ImportOutcome => ({ name, error: { code: '', message: `${name}: ${messageOf(cause)}` } })))
        taken += outcomes.filter(one => one.error === null && !one.there).length
        there += outcomes.filter(one => one.error === null && one.there).length
        failed += outcomes.filter(({ error }) => error !== null).length
        setRefused(before => [...before, ...outcomes.flatMap(({ error }) => error?.message ?? [])])
        setSaid(`${counted(taken, 'new image')} taken${there > 0 ? `, ${String(there)} there already` : ''}${failed > 0 ? `, ${String(failed)} refused` : ''}`)
      }
      setChosen(null)
    } finally {
      setBusy(false)
      onImported()
    }
  }
  return <section class="card folders" aria-labelledby="folders">
    <h2 id="folders">Class folders</h2>
    <div class="row">
      <label class="button">Import a folder<input class="unseen" type="file" {...{ webkitdirectory: true }} multiple disabled={busy} onChange={event => {
        const { files } = event.currentTarget
        choose([...files ?? []])
        event.currentTarget.value = ''
      }} /></label>
      <a class="button" href="api/labels.zip" download>Export all labels</a>
    </div>
    <p class="faint">A folder that holds one folder of JPEG, PNG or WebP images for each class. What is there already is not taken twice.</p>
    {chosen && <Preview chosen={chosen} busy={busy} onTake={() => { void take(chosen) }} onLeave={() => { setChosen(null) }} />}
    <p role="status">{said}</p>
    {refused.length > 0 && <ul class="problem" role="alert">{refused.slice(0, 20).map((message, at) => <li key={at}>{message}</li>)}{refused.length > 20 && <li>and {counted(refused.length - 20, 'other')}</li>}</ul>}
  </section>
}

interface PreviewProps {
  chosen: Chosen
  busy: boolean
  onTake: () => void
  onLeave: () => void
}

function Preview({ chosen: { uploads, passedOver: { others, loose, large } }, busy, onTake, onLeave }: PreviewProps) {
  const labels = [...new Set(uploads.map(({ label }) => label))].sort()
  return <>
    <p>{uploads.length === 0 ? 'There is no image in a folder of its class.' : `${counted(uploads.length, 'image')} of ${counted(labels.length, 'class', 'classes')}: ${labels.map(label => `${label} (${String(uploads.filter(upload => upload.label === label).length)})`).join(', ')}`}</p>
    {loose > 0 && <p class="problem">{counted(loose, 'image')} in no folder of a class: passed over.</p>}
    {large.length > 0 && <p class="problem">Passed over, as more than {toldBytes(mostImageBytes)} at once are not taken: {large.map(({ name, size }) => `${name} (${toldBytes(size)})`).join(', ')}.</p>}
    {others > 0 && <p>{counted(others, 'file')} that {others === 1 ? 'is no image' : 'are no images'}: passed over.</p>}
    <div class="row">
      {uploads.length > 0 && <button type="button" class="main" disabled={busy} onClick={onTake}>{busy ? 'Importing …' : `Import ${counted(uploads.length, 'image')}`}</button>}
      <button type="button" disabled={busy} onClick={onLeave}>Cancel</button>
    </div>
  </>
}

/** A folder of classes, or the folder of one. */
function chosenFrom(files: readonly File[]): Chosen {
  const images = files.filter(({ name }) => image.test(name)).map(file => ({ file, folders: file.webkitRelativePath.split('/').slice(0, -1) }))
  const deep = images.some(({ folders }) => folders.length > 1)
  const labeled = images.flatMap(({ file, folders }) => {
    const label = folders.length > 1 || !deep ? folders.at(-1) : undefined
    return label === undefined ? [] : [{ label, file }]
  })
  const large = labeled.map(({ file }) => file).filter(({ size }) => size > mostImageBytes)
  return {
    uploads: labeled.filter(({ file }) => !large.includes(file)),
    passedOver: { others: files.length - images.length, loose: images.length - labeled.length, large },
  }
}

async function send(uploads: readonly Upload[]): Promise<ImportOutcome[]> {
  const form = new FormData()
  for (const { label, file } of uploads) form.append(label, file, file.name)
  return await answered<ImportOutcome[]>(fetch('api/labels/import', { method: 'POST', body: form }))
}

function batches(uploads: readonly Upload[]): Upload[][] {
  const all: Upload[][] = []
  let bytes = Infinity
  for (const upload of uploads) {
    if (bytes + upload.file.size > most.bytes || (all.at(-1)?.length ?? 0) >= most.images) {
      all.push([])
      bytes = 0
    }
    all.at(-1)?.push(upload)
    bytes += upload.file.size
  }
  return all
}
