/** The class folders in and out: a person may have labeled elsewhere, or want to go on there. */
import { useState } from 'preact/hooks'
import type { ImportOutcome } from '../../api.js'
import { counted } from '../../format.js'
import { answered, messageOf } from '../api.js'

/** Bytes and images of one request at most. */
const most = { bytes: 8e6, images: 100 } as const

interface Upload {
  label: string
  file: File
}

export function Folders({ onImported }: { onImported: () => void }) {
  const [said, setSaid] = useState('')
  const [refused, setRefused] = useState<{ name: string; message: string }[]>([])
  const [busy, setBusy] = useState(false)
  const take = async (files: readonly File[]) => {
    const uploads = files.flatMap(file => {
      const label = file.webkitRelativePath.split('/').at(-2)
      return label === undefined ? [] : [{ label, file }]
    })
    let [taken, there] = [0, 0]
    setBusy(true)
    setRefused([])
    try {
      for (const batch of batches(uploads)) {
        const outcomes = await send(batch)
        taken += outcomes.filter(({ error }) => error === null).length
        there += outcomes.filter(one => one.error === null && one.there).length
        setRefused(before => [...before, ...outcomes.flatMap(({ name, error }) => (error === null ? [] : [{ name, message: error.message }]))])
        setSaid(`${String(taken)} of ${counted(uploads.length, 'image')} taken${there > 0 ? `, ${String(there)} of them were there already` : ''}`)
      }
      if (uploads.length === 0) setSaid('There is no image in a folder of its class.')
    } catch (cause) {
      setRefused(before => [...before, { name: '', message: messageOf(cause) }])
    } finally {
      setBusy(false)
      onImported()
    }
  }
  return <section class="card folders" aria-labelledby="folders">
    <h2 id="folders">Class folders</h2>
    <div class="row">
      <label class="button">{busy ? 'Importing …' : 'Import a folder'}<input class="unseen" type="file" {...{ webkitdirectory: true }} multiple disabled={busy} onChange={event => {
        const { files } = event.currentTarget
        void take([...files ?? []])
        event.currentTarget.value = ''
      }} /></label>
      <a class="button" href="api/labels.zip" download>Export all labels</a>
    </div>
    <p class="faint">A folder that holds one folder of JPEG, PNG or WebP images for each class. What is there already is not taken twice.</p>
    <p role="status">{said}</p>
    {refused.length > 0 && <ul class="problem" role="alert">{refused.slice(0, 20).map(({ name, message }) => <li key={name}>{message}</li>)}{refused.length > 20 && <li>and {counted(refused.length - 20, 'other')}</li>}</ul>}
  </section>
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
