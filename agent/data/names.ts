/** The names in a data folder, by whose they are. */

/** `unpacked`: not known to be whole; `checked`: what was there moves away; `ready`: it moves in. */
export const stage = /^restore-(\d+)\.(unpacked|checked|ready)$/
const former = /^before-\d+$/
/** Of this box and no other, wherever its data come from: a disk that is mounted there, and the certificate that it logs in with. */
const ofTheBox: readonly string[] = ['.control', 'lost+found', 'tls']
/** Of the process that holds the folder, or is about to. */
const holder = /^\.holder/

/** Whether a name in the data folder belongs to what is backed up and restored. */
export function isOurs(name: string): boolean {
  return ![stage, former, holder].some(other => other.test(name)) && !ofTheBox.includes(name)
}
