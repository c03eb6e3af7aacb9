/** What lies in folders where images are expected. */
import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:net'
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { classes } from '../site/labels.js'

/** Names of classes, in the place of those that the box would have. */
const classNames: Record<(typeof classes)[number], string> = {
  'ankle-boot': '__proto__', bag: 'x'.repeat(255), trouser: '💥 \nmodel 77 is in service\u001b[2J\r\u202e<b>"\'',
}

/** Names of image files. */
const fileNames = [
  `${'y'.repeat(251)}.png`, `${'é'.repeat(125)}.png`, 'a\nmodel 77 is in service.png', '\u001b[2J.png', '💥.png', '-rf.png', ' .png', '..png.png', '$(touch canary).png',
  '`touch canary`.jpg', '%2e%2e%2fcanary.jpg', '__proto__.png', '\u202egnp.png', 'a;b|c&d.PNG', '\\..\\..\\canary.png', '"\'.jpeg',
]

/** The class folders below one get names that no program expects. Gives the new ones. */
export async function renameClasses(folder: string): Promise<string[]> {
  for (const [name, strange] of Object.entries(classNames)) await rename(join(folder, name), join(folder, strange))
  return Object.values(classNames)
}

/** Pictures as files of strange names, as many as there are of the one or the other. */
export async function writePictures(folder: string, pictures: readonly Buffer[]): Promise<void> {
  for (let index = 0; index < Math.max(pictures.length, fileNames.length); index++) {
    const name = fileNames[index] ?? `hostile-${String(index)}.${index % 2 ? 'png' : 'jpg'}`
    await writeFile(join(folder, name), pictures[index % pictures.length] ?? Buffer.alloc(0))
  }
}

/**
 * What is no file, under names of images: pipes, sockets, devices, folders, links to these, in circles, to nowhere and out of the folder. A name that
 * is no UTF-8, too. Gives the socket's server, which is to be closed.
 */
export async function makeStrange(folder: string, outside: string): Promise<Server> {
  const at = (name: string) => join(folder, name)
  await promisify(execFile)('mkfifo', [at('pipe.png')])
  await symlink(at('pipe.png'), at('link-to-pipe.png'))
  await mkdir(join(at('folder.png'), 'x.png'), { recursive: true })
  for (const [name, target] of Object.entries({ zero: '/dev/zero', random: '/dev/urandom', tty: '/dev/tty', memory: '/proc/self/mem', maps: '/proc/self/maps', circle: at('link-to-circle.jpg'), nowhere: '/nowhere' })) {
    await symlink(target, at(`link-to-${name}.jpg`))
  }
  await symlink(join(outside, 'canary.png'), at('link-to-canary.png'))
  await symlink(outside, at('link-to-outside.png'))
  await writeFile(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe]), Buffer.from('.png')]), 'x')
  const server = createServer()
  // A path of a socket has 107 bytes at most.
  await new Promise<void>(resolve => { server.listen(join(outside, 's'), resolve) })
  await rename(join(outside, 's'), at('socket.png'))
  return server
}
