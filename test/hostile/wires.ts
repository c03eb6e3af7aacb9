/** What a camera may answer that does not speak HTTP as it should, or speaks it too well. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

/** `asked`: the head of the request. */
type Answer = (socket: Socket, asked: string) => void

/** Time that an answer is given, milliseconds. */
const answeredMs = 300

const ok = 'HTTP/1.1 200 OK\r\n'
const jpeg = 'content-type: image/jpeg\r\n'
const multipart = 'content-type: multipart/x-mixed-replace; boundary=b\r\n'
const says = (text: string): Answer => socket => { socket.end(Buffer.from(text, 'latin1')) }
/** Writes for ever, as fast as it is read. */
const pours = (first: string, chunk: string | Buffer): Answer => socket => {
  socket.write(first)
  const pour = () => { while (!socket.destroyed && socket.write(chunk)); }
  socket.on('drain', pour)
  pour()
}
const gzipped = gzipSync(Buffer.alloc(200_000_000), { level: 1 })
const gzippedTwice = gzipSync(gzipped)
const compressed = (encoding: string, body: Buffer): Answer => socket => {
  socket.write(`${ok}${jpeg}content-encoding: ${encoding}\r\ncontent-length: ${String(body.length)}\r\n\r\n`)
  socket.end(body)
}
/** The password, as the camera was told it. */
const echoes = (write: (secret: string) => string): Answer => (socket, asked) => {
  const secret = /^authorization: (.*)$/im.exec(asked)?.[1]?.trim()
  socket.end(secret === undefined ? 'HTTP/1.1 401 No\r\nwww-authenticate: Basic realm="x"\r\ncontent-length: 0\r\n\r\n' : Buffer.from(write(secret), 'latin1'))
}

export const answers: Record<string, Answer> = {
  'nothing, and the line stays open': () => undefined,
  'nothing, and hangs up': socket => { socket.destroy() },
  'no HTTP': says('220 ftp.example\r\n'),
  'headers without end': pours(ok, `x: ${'y'.repeat(1000)}\r\n`),
  'one header without end': pours(`${ok}x: `, 'y'.repeat(60_000)),
  'a picture without end': pours(`${ok}${jpeg}\r\n`, Buffer.alloc(65_536, 7)),
  'parts without a boundary': pours(`${ok}${multipart}\r\n`, Buffer.alloc(65_536, 7)),
  'a part whose head has no end': pours(`${ok}${multipart}\r\n--b\r\n`, 'x: y\r\n'.repeat(10_000)),
  'a part of 10^300 bytes': pours(`${ok}${multipart}\r\n--b\r\ncontent-length: 1${'0'.repeat(300)}\r\n\r\n`, Buffer.alloc(65_536, 7)),
  'ten thousand pictures at once, again and again': pours(`${ok}${multipart}\r\n`, '--b\r\ncontent-length: 1\r\n\r\nx\r\n'.repeat(10_000)),
  'parts of no bytes': pours(`${ok}${multipart}\r\n`, '--b\r\ncontent-length: 0\r\n\r\n\r\n'.repeat(1000)),
  'boundaries alone': pours(`${ok}${multipart}\r\n`, '--b'.repeat(10_000)),
  'an empty boundary': pours(`${ok}content-type: multipart/x-mixed-replace; boundary="--"\r\n\r\n`, '--\r\n\r\nx'.repeat(1000)),
  'a length of 10^20 bytes': says(`${ok}${jpeg}content-length: 99999999999999999999\r\n\r\nx`),
  'a negative length': says(`${ok}${jpeg}content-length: -5\r\n\r\nx`),
  'two lengths': says(`${ok}${jpeg}content-length: 5\r\ncontent-length: 6\r\n\r\nxxxxxx`),
  'a chunk of 2^60 bytes': says(`${ok}${jpeg}transfer-encoding: chunked\r\n\r\nfffffffffffffff\r\nx`),
  'nothing for content': says('HTTP/1.1 204 No Content\r\ncontent-type: image/jpeg\r\n\r\n'),
  'another protocol': says('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
  'go to a file': says('HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n'),
  'go to data': says('HTTP/1.1 302 Found\r\nlocation: data:image/jpeg,x\r\n\r\n'),
  'go to where you are': says('HTTP/1.1 302 Found\r\nlocation: /video?password=wire-secret\r\n\r\n'),
  '200 MB in few': compressed('gzip', gzipped),
  '200 MB in fewer': compressed('gzip, gzip', gzippedTwice),
  '3000 times compressed': compressed(Array.from({ length: 3000 }, () => 'gzip').join(), gzippedTwice),
  'compressed, and is not': compressed('br', gzipped),
  'a status of 8000 letters that clears the screen': says(`HTTP/1.1 503 \u001b[2J${'x'.repeat(8000)}\r\n\r\n`),
  'a type of 8000 letters': says(`${ok}content-type: text/${'x'.repeat(8000)}\r\n\r\n`),
  'a challenge of nonsense': says(`HTTP/1.1 401 No\r\nwww-authenticate: ${' '.repeat(7000)}x${'-'.repeat(7000)}=\r\ncontent-length: 0\r\n\r\n`),
  'a challenge without end of quotes': says(`HTTP/1.1 401 No\r\nwww-authenticate: Digest ${'a="\\\\'.repeat(3000)}\r\ncontent-length: 0\r\n\r\n`),
  'the password, as its status': echoes(secret => `HTTP/1.1 403 ${secret}\r\ncontent-length: 0\r\n\r\n`),
  'the password, as its type': echoes(secret => `${ok}content-type: ${secret}\r\ncontent-length: 0\r\n\r\n`),
  'the password, as its page': echoes(secret => `HTTP/1.1 500 No\r\n\r\n${secret}`),
}

/** A camera on loopback that gives one answer after the other. */
export class WireCamera {
  answer: Answer = answers['nothing, and the line stays open'] as Answer
  private asked = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  constructor() {
    this.server = createServer(socket => {
      this.sockets.add(socket)
      socket.on('close', () => { this.sockets.delete(socket) })
      socket.on('error', () => undefined)
      socket.once('data', asked => {
        this.asked++
        this.answer(socket, asked.toString('latin1'))
      })
    })
  }

  /** Gives its address, with a user. */
  async start(): Promise<string> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    return `http://127.0.0.1:${String((this.server.address() as AddressInfo).port)}/video`
  }

  /** Answers so for a while, from when it is asked next. Gives whether it was. */
  async shows(answer: Answer): Promise<boolean> {
    this.answer = answer
    const { asked } = this
    for (const socket of this.sockets) socket.destroy()
    for (let tries = 0; this.asked === asked; tries++) {
      if (tries > 1000) return false
      await sleep(20)
    }
    await sleep(answeredMs)
    return true
  }

  async stop(): Promise<void> {
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
    await once(this.server, 'close')
  }
}
