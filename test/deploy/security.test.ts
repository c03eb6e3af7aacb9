/** What deploy/SECURITY.md says is shown by tests: that they are there, and those that belong to no part alone. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { sourceOf } from '../../agent/camera/index.js'
import { parseConfig } from '../../agent/config.js'
import { Box } from '../site/box.js'
import { mosquitto } from '../site/mosquitto.js'

const root = join(import.meta.dirname, '..', '..')
const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => { for (const cleanup of cleanups.splice(0).reverse()) await cleanup() })

it('SECURITY.md names tests that there are, by file and name', async () => {
  const text = await readFile(join(root, 'deploy', 'SECURITY.md'), 'utf8')
  const named = [...text.matchAll(/`(test\/[\w/.-]+\.ts)`: ((?:"[^"]+"(?:, )?)+)/g)]
    .flatMap(([, file = '', names = '']) => [...names.matchAll(/"([^"]+)"/g)].map(([, name = '']) => ({ file, name })))
  expect(named.length).toBeGreaterThan(30)
  // Every mention of a file of tests is one of these.
  const files = [...text.matchAll(/`test\/[\w/.-]+\.test\.ts`/g)]
  expect(files.length).toBe(new Set([...text.matchAll(/`(test\/[\w/.-]+\.test\.ts)`: "/g)].map(({ index }) => index)).size)
  const missing = (await Promise.all(named.map(async ({ file, name }) => {
    const source = await readFile(join(root, file), 'utf8').catch(() => '')
    return source.replaceAll('\\\'', '\'').includes(name) ? [] : [`${file}: "${name}"`]
  }))).flat()
  expect(missing).toEqual([])
})

describe('a camera over RTSP that was replaced', () => {
  /** Answers OPTIONS as it should, and what the pictures are with this. */
  const replaced = async (answer: (sequence: string) => string): Promise<string> => {
    const server = createServer(socket => {
      socket.on('error', () => undefined)
      socket.on('data', asked => {
        const text = asked.toString('latin1')
        const sequence = /^CSeq: .*$/mi.exec(text)?.[0].trim() ?? ''
        socket.write(text.startsWith('OPTIONS') ? `RTSP/1.0 200 OK\r\n${sequence}\r\nPublic: DESCRIBE\r\n\r\n` : answer(sequence))
      })
    })
    return `127.0.0.1:${String(await listening(server))}`
  }
  const described = (sequence: string, sdp: string) => `RTSP/1.0 200 OK\r\n${sequence}\r\nContent-Type: application/sdp\r\nContent-Length: ${String(sdp.length)}\r\n\r\n${sdp}`
  const sdp = (control: string) => `v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:${control}\r\n`

  it.each([
    ['sends to a web server', (trap: string) => (sequence: string) => `RTSP/1.0 302 Found\r\n${sequence}\r\nLocation: http://${trap}/\r\n\r\n`],
    ['sends to a file', () => (sequence: string) => `RTSP/1.0 302 Found\r\n${sequence}\r\nLocation: file:///etc/passwd\r\n\r\n`],
    ['describes pictures that lie on a web server', (trap: string) => (sequence: string) => described(sequence, sdp(`http://${trap}/x`))],
    ['describes pictures that lie in a file', () => (sequence: string) => described(sequence, sdp('file:///etc/passwd'))],
    ['describes a megabyte of nonsense', () => (sequence: string) => described(sequence, 'm=video 0 RTP/AVP 26\r\na='.repeat(40_000))],
  ])('and %s has ffmpeg open nothing else, and is told to be away', async (_, answer) => {
    const opened: string[] = []
    const trap = createServer(socket => {
      opened.push('the web server')
      socket.destroy()
    })
    const where = `127.0.0.1:${String(await listening(trap))}`
    const url = `rtsp://${await replaced(answer(where))}/door`
    const [camera] = parseConfig(JSON.stringify({ cameras: [{ id: 'door', source: 'rtsp', url, username: 'viewer' }] }), 'pawl.yaml').cameras
    if (!camera) throw new Error('no camera')
    const pictures = async () => { for await (const picture of sourceOf(camera, '')(AbortSignal.timeout(20_000))) if (picture) opened.push('a picture') }
    await expect(pictures()).rejects.toMatchObject({ code: 'CAMERA_UNAVAILABLE', message: expect.not.stringContaining('root:') as string })
    expect(opened).toEqual([])
  })
})

describe.skipIf(!mosquitto)('a box whose broker sends without end', () => {
  it('keeps the newest answers alone, takes no memory for the others, leaves its cameras as they are, and answers who asks next', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-flooded-'))
    cleanups.push(() => rm(folder, { recursive: true, force: true }))
    const box = await Box.in(folder, { labels: { import: '', importValidation: '' }, mqtt: { commands: ['status'] } })
    cleanups.push(() => box.close())
    const daemon = box.start()
    cleanups.push(() => daemon.cut())
    await daemon.said(/^broker .*: connected/)
    await daemon.said(/^camera belt is online/)
    const { client, prefix } = box.onlooker
    const answers = () => box.onlooker.messages.filter(({ topic }) => topic.startsWith('response/')).map(({ text }) => text)
    const answerTo = async (transaction: string) => {
      await box.onlooker.ask('status', { transaction })
      await expect.poll(() => answers().some(text => text.includes(`"${transaction}"`)), { timeout: 30_000, interval: 20 }).toBe(true)
      return answers().find(text => text.includes(`"${transaction}"`)) ?? ''
    }
    expect(await answerTo('before')).toContain('"status":"ok"')
    const before = await residentMb(daemon.pid)

    const large = Buffer.alloc(1_000_000, '{"transaction": ')
    for (let index = 0; index < 5000; index++) {
      client.publish(`${prefix}/request/${index % 2 ? 'status' : 'train'}`, index % 100 ? `{"transaction": "flood-${String(index)}"}` : large, { qos: 0 })
    }
    // It may be told to come back, by its own transaction.
    expect(await answerTo('meanwhile')).toMatch(/"status":"ok"|busy with 8 other commands/)

    expect(await answerTo('after')).toContain('"status":"ok"')
    for (const text of answers()) expect(text).toMatch(/"status":"ok"|COMMAND_(INVALID|OFF)/)
    expect(await residentMb(daemon.pid)).toBeLessThan(before + 200)
    expect(daemon.text).not.toMatch(/camera belt is offline/)
  })
})

async function listening(server: Server): Promise<number> {
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  cleanups.push(() => new Promise(resolve => { server.close(resolve) }))
  return (server.address() as AddressInfo).port
}

async function residentMb(pid: number): Promise<number> {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${String(pid)}/status`, 'utf8'))?.[1]) / 1024
}
