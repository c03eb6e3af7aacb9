/**
 * The data folder as one finds it: whoever writes holds it, with what was begun before brought to its end; whoever reads learns whether that
 * is so.
 */
import { holdFolder } from '../lib/exclusive.js'
import { bringUpToDate, checkFormat } from './format.js'
import { checkRestored, finishRestore } from './restore.js'

/**
 * Holds the folder until what it returns is called. `onChange` hears what was brought to its end. Errors: DATA_LOCKED, DATA_UNWRITABLE,
 * DATA_FORMAT.
 */
export async function openFolder(data: string, onChange: (what: string) => void): Promise<() => Promise<void>> {
  const release = await holdFolder(data)
  try {
    const finished = await finishRestore(data)
    if (finished?.stuck != null) onChange(`${data}: a restore that was interrupted is undone, as ${finished.stuck}; all is as it was before it`)
    else if (finished) onChange(`${data}: a restore that was interrupted is finished${finished.before === null ? '' : `; what was there before is in ${finished.before}`}`)
    await bringUpToDate(data, { onStep: onChange })
    return release
  } catch (cause) {
    await release()
    throw cause
  }
}

/** For whoever only reads. Errors: DATA_FORMAT. */
export async function checkFolder(data: string): Promise<void> {
  await checkRestored(data)
  await checkFormat(data)
}
