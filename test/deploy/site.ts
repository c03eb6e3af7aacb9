/** A site as deploy/README.md sets it up: its authority (ca.sh), its broker with the files of deploy/broker, boxes that `pawl enroll` enrolled. */
import { execFile, execFileSync } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../free-port.js'
import { Mosquitto } from '../site/mosquitto.js'

const root = join(import.meta.dirname, '..', '..')
const broker = join(root, 'deploy', 'broker')
/** Built by `npm run build`, which `npm test` runs first. */
const program = join(root, 'dist', 'agent', 'main.js')
const run = promisify(execFile)

export const users = ['fleet', 'screen'] as const
const password = 'hush'

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

async function ended(running: Promise<{ stdout: string; stderr: string }>): Promise<Ended> {
  return running.then(said => ({ code: 0, ...said }), (cause: unknown) => cause as Ended)
}

export class Site {
  readonly folder: string
  readonly broker: Mosquitto
  /** Of boxes, and of people. */
  readonly ports: { boxes: number; people: number }

  private constructor(folder: string, ports: { boxes: number; people: number }, mosquitto: Mosquitto) {
    this.folder = folder
    this.ports = ports
    this.broker = mosquitto
  }

  /** With its authority and its broker's files; the broker is not started yet. */
  static async in(folder: string): Promise<Site> {
    const ports = { boxes: await freePort(), people: await freePort() }
    await mkdir(join(folder, 'conf.d'), { recursive: true })
    const mosquitto = await Mosquitto.in(folder, { persistent: true, more: `include_dir ${join(folder, 'conf.d')}` })
    const site = new Site(folder, ports, mosquitto)
    for (const args of [['init'], ['broker', 'localhost', '127.0.0.1']]) {
      const { code, stderr } = await site.ca(...args)
      if (code !== 0) throw new Error(stderr)
    }
    for (const file of ['ca.crt', 'crl.pem', 'broker.crt', 'broker.key']) await site.bring(file)
    for (const file of ['boxes.acl', 'people.acl']) await copyFile(join(broker, file), site.at('pawl', file))
    users.forEach((user, index) => {
      execFileSync('mosquitto_passwd', [...index === 0 ? ['-c'] : [], '-b', site.at('pawl', 'people.passwords'), user, password], { stdio: 'pipe' })
    })
    await site.configure('mosquitto.conf', text => text
      .replaceAll('listener 8883', `listener ${String(ports.boxes)} 127.0.0.1`).replaceAll('listener 8884', `listener ${String(ports.people)} 127.0.0.1`))
    return site
  }

  at(...names: string[]): string {
    return join(this.folder, ...names)
  }

  /** A file of deploy/broker beside the broker's main file; only its folder, and what `changed` changes, differ. */
  async configure(file: string, changed: (text: string) => string): Promise<void> {
    const text = await readFile(join(broker, file), 'utf8')
    await writeFile(this.at('conf.d', file), changed(text.replaceAll('/etc/mosquitto/pawl', this.at('pawl'))))
  }

  /** From the authority to the broker. */
  async bring(file: string): Promise<void> {
    await mkdir(this.at('pawl'), { recursive: true })
    await copyFile(this.at('authority', file), this.at('pawl', file))
  }

  ca(...args: string[]): Promise<Ended> {
    return ended(run(join(broker, 'ca.sh'), args, { cwd: this.folder, env: { ...process.env, CA: this.at('authority') } }))
  }

  enroll(device: string, ...args: string[]): Promise<Ended> {
    return ended(run(process.execPath, [program, 'enroll', '--device', device, '--out', this.at(device), ...args]))
  }

  /** Asks, has it signed, puts it in place. Gives the box's `mqtt.tls`. */
  async enrolled(device: string, { renew = false } = {}): Promise<{ ca: string; cert: string; key: string }> {
    const more = renew ? ['--renew'] : []
    const steps = [
      () => this.enroll(device, ...more),
      () => this.ca('sign', ...more, this.at(device, `${device}.csr`), device),
      () => this.enroll(device, '--install', this.at(`${device}.crt`), '--ca', this.at('authority', 'ca.crt')),
    ]
    for (const step of steps) {
      const { code, stderr } = await step()
      if (code !== 0) throw new Error(stderr)
    }
    return this.tlsOf(device)
  }

  /** What `pawl doctor` says. */
  async doctor(config: string): Promise<string> {
    return (await ended(run(process.execPath, [program, 'doctor', '--config', config]))).stdout
  }

  tlsOf(device: string): { ca: string; cert: string; key: string } {
    const identity = this.at(device, `${device}.pem`)
    return { ca: this.at('authority', 'ca.crt'), cert: identity, key: identity }
  }

  /** Where boxes connect to. */
  get url(): string {
    return `mqtts://localhost:${String(this.ports.boxes)}`
  }

  /** Where people do, and what they connect with. */
  get people(): string {
    return `mqtts://localhost:${String(this.ports.people)}`
  }

  async as(username: typeof users[number]): Promise<{ username: string; password: string; ca: Buffer }> {
    return { username, password, ca: await readFile(this.at('authority', 'ca.crt')) }
  }
}
