/** Who may do what with a file or folder, for people who are to change it. */
import { access, constants, mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { PawlError } from '../errors.js'
import { runProgram } from './program.js'

/** Makes a folder where there is none, and looks that this process may write to it. Errors: DATA_UNWRITABLE, with who owns it and the fix. */
export async function writableFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await access(folder, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw await unwritable(folder, cause)
  }
}

/** As DATA_UNWRITABLE for those errors of a file system that a person can mend; any other as it is. `uid`: of who was to write. */
export async function unwritable(folder: string, cause: unknown, uid = process.getuid?.() ?? 0): Promise<unknown> {
  const problem = (what: string) => new PawlError('DATA_UNWRITABLE', `${what}, or choose another folder with the key "data"`, { cause })
  switch (cause instanceof Error && 'code' in cause ? cause.code : null) {
    case 'EEXIST':
    case 'ENOTDIR': return problem(`the data folder ${folder} is none, or lies in a file: move that away`)
    case 'EROFS': return problem(`the data folder ${folder} lies where nothing may be written (a disk that is mounted read-only, a service without ReadWritePaths for it): allow it`)
    case 'EACCES':
    case 'EPERM': break
    default: return cause
  }
  const there = await nearest(folder)
  if (!there) return cause
  const [user, { owner, uid: owning, mode }] = [await nameFrom('-nu', uid), there]
  const entry = there.path === folder ? null : await entryOf(there, uid)
  if (entry && !entry.may) {
    const fix = entry.as === 'u' ? `chmod u+rwx ${there.path}` : `sudo chmod ${entry.as}+x ${there.path}`
    return problem(`the data folder ${folder} cannot be reached: ${there.path} belongs to ${owner} (mode ${mode}), and user ${user} may not enter it; ${fix}`)
  }
  const may = `${there.path === folder ? '' : `cannot be made or reached: ${there.path} `}belongs to ${owner} (mode ${mode}), and user ${user} cannot write there`
  const own = there.path === folder ? owning === uid ? `chmod u+rwx ${folder}` : `sudo chown -R ${user} ${folder}` : `sudo install -d -o ${user} ${folder}`
  const asOwner = owning === uid || owning === 0 ? '' : `, or run this as ${owner} (sudo -u ${/^\d+$/.test(owner) ? `'#${owner}'` : owner} …)`
  return problem(`the data folder ${folder} ${may}; ${own}${asOwner}`)
}

/** What to do about a file that this process may not read. */
export async function readingFix(file: string): Promise<string> {
  const there = await nearest(file)
  const [user, group] = await Promise.all([nameFrom('-nu'), nameFrom('-ng')])
  if (there?.path !== file) return `user ${user} may not look into ${there?.path ?? dirname(file)}: put the file elsewhere, or let that user in`
  return `it belongs to ${there.owner} (mode ${there.mode}), and user ${user} may not read it: sudo chgrp ${group} ${file} && sudo chmod g+r ${file}`
}

interface Owned {
  path: string
  uid: number
  gid: number
  owner: string
  /** In octal. */
  mode: string
}

/** The path, or what there is of the way to it; null: nothing can be looked at. */
async function nearest(path: string): Promise<Owned | null> {
  const found = await stat(path).catch(() => null)
  if (found) return { path, uid: found.uid, gid: found.gid, owner: await nameFrom('-nu', found.uid), mode: (found.mode & 0o7777).toString(8) }
  return path === dirname(path) ? null : nearest(dirname(path))
}

/** Whether a user may enter, and as whom: owner, group or other. By the mode alone; not what more an access list allows. */
async function entryOf({ uid: owning, gid, mode }: Owned, uid: number): Promise<{ may: boolean; as: 'u' | 'g' | 'o' }> {
  const bits = Number.parseInt(mode, 8)
  if (owning === uid) return { may: (bits & 0o100) !== 0, as: 'u' }
  const groups = await runProgram('id', ['-G', String(uid)])
  return typeof groups === 'string' && groups.trim().split(' ').includes(String(gid))
    ? { may: (bits & 0o010) !== 0, as: 'g' }
    : { may: (bits & 0o001) !== 0, as: 'o' }
}

/** Of a user (`-nu`) or a user's group (`-ng`): the name, or, where there is none, the number. */
async function nameFrom(option: '-nu' | '-ng', uid = process.getuid?.() ?? 0): Promise<string> {
  const named = await runProgram('id', [option, String(uid)])
  return typeof named === 'string' ? named.trim() : String(option === '-ng' ? process.getgid?.() ?? uid : uid)
}
