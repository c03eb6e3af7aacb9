/** How a box comes by its certificate: `pawl enroll` and deploy/broker/ca.sh, with the real openssl; 15 s. */
import { execFileSync, spawn } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Enrollment } from '../../agent/enroll/enrollment.js'
import { requestFor } from '../../agent/enroll/request.js'
import { ended } from '../../agent/lib/child.js'
import { compiled } from '../compiled.js'
import { mosquitto } from '../site/mosquitto.js'
import { Site } from './site.js'

let folder = ''
let site: Site
const at = (...names: string[]) => join(folder, ...names)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-enroll-'))
  site = await Site.in(at('site'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder }).toString()
const newKey = (name: string) => openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', name)
const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

/** A request as openssl makes it, for whatever subject. */
function requestOf(subject: string, ...more: string[]): string {
  const name = `${String(requests++)}.csr`
  openssl('req', '-new', '-key', 'any.key', '-subj', subject, ...more, '-out', name)
  return at(name)
}
let requests = 0

/** A certificate for the key that waits in an enrollment, from the site's authority unless told. */
async function certificateFor(enrollment: Enrollment, ...more: string[]): Promise<string> {
  await writeFile(at('use.ext'), 'extendedKeyUsage = serverAuth\n')
  const by = more.includes('-CA') ? [] : ['-CA', site.at('authority', 'ca.crt'), '-CAkey', site.at('authority', 'ca.key'), '-CAcreateserial']
  return openssl('x509', '-req', '-in', enrollment.request, ...by, ...more.includes('-days') ? [] : ['-days', '2'], ...more)
}

describe.skipIf(!mosquitto)('pawl enroll', () => {
  it('makes a key that stays, has it signed, puts both in place, and asks for the next one beside them', async () => {
    const asked = await site.enroll('box-1', '--json')
    const { key, request, fingerprint } = JSON.parse(asked.stdout) as Record<string, string>
    expect([await modeOf(key ?? ''), await modeOf(request ?? '')]).toEqual(['600', '644'])
    expect(openssl('req', '-in', request ?? '', '-noout', '-verify', '-text')).toMatch(/Subject: CN = box-1\n[^]*NIST CURVE: P-256/)
    // Asked again, it is the same key.
    expect(JSON.parse((await site.enroll('box-1', '--json')).stdout)).toMatchObject({ fingerprint, isNew: false })
    const signed = await site.ca('sign', request ?? '', 'box-1')
    expect(signed.stdout).toContain(fingerprint)
    const installed = await site.enroll('box-1', '--install', site.at('box-1.crt'), '--ca', site.at('authority', 'ca.crt'))
    expect(installed.stdout).toMatch(/box-1\.pem is in use from the next connection on, until \S+Z\nname it in mqtt\.tls\.cert and in mqtt\.tls\.key/)
    const identity = site.at('box-1', 'box-1.pem')
    expect(await modeOf(identity)).toBe('600')
    expect(await readdir(site.at('box-1'))).toEqual(['box-1.pem'])
    const first = await readFile(identity, 'utf8')

    expect((await site.enroll('box-1')).stderr).toMatch(/box-1 has a certificate until \S+Z in .*; --renew asks for the next one/)
    expect((await site.enroll('box-1', '--renew')).code).toBe(0)
    expect(await readFile(identity, 'utf8')).toBe(first)
    expect((await site.ca('sign', site.at('box-1', 'box-1.csr'), 'box-1')).stderr).toMatch(/"box-1" has a certificate until .*--renew.*revoke box-1/)
    expect((await site.ca('sign', '--renew', site.at('box-1', 'box-1.csr'), 'box-1')).code).toBe(0)
    for (const again of [1, 2]) expect([again, (await site.enroll('box-1', '--install', site.at('box-1.crt'))).code]).toEqual([again, 0])
    expect(await readdir(site.at('box-1'))).toEqual(['box-1.former.pem', 'box-1.pem'])
    expect(await readFile(site.at('box-1', 'box-1.former.pem'), 'utf8')).toBe(first)
    expect((await site.ca('list')).stdout.match(/counts .* box-1$/gm)).toHaveLength(2)

    // Revoked, and in again by the commands of the README: what the box still holds is renewed, what the authority signs is a first one.
    expect((await site.ca('revoke', 'box-1')).code).toBe(0)
    expect((await site.enroll('box-1')).stderr).toMatch(/box-1 has a certificate until/)
    expect((await site.enroll('box-1', '--renew')).code).toBe(0)
    expect((await site.ca('sign', site.at('box-1', 'box-1.csr'), 'box-1')).code).toBe(0)
    expect((await site.enroll('box-1', '--install', site.at('box-1.crt'), '--ca', site.at('authority', 'ca.crt'))).code).toBe(0)
    expect((await site.ca('list')).stdout.match(/counts .* box-1$/gm)).toHaveLength(1)
  })

  it.each([
    [['--out', '/tmp'], 'whose certificate? Give --device, or --config'],
    [['--device', 'box-1'], 'where to? Give --out with a folder'],
    [['--device', 'box/1', '--out', '/tmp'], '--device is "box/1": letters, digits, - and _ only'],
    [['--device', 'box-9', '--out', '/nowhere', '--renew'], 'there is nothing to renew in /nowhere/box-9.pem'],
    [['--device', 'box-9', '--out', '/nowhere', '--install', '/no.crt'], '--install is "/no.crt", which cannot be read'],
    [['--device', 'box-9', '--out', 'two-files.yaml/tls'], 'two-files.yaml/tls'],
    [['--device', 'box-9', '--out', '/tmp', '--ca', 'x'], '--ca says who must have signed what --install puts in place'],
    [['--device', 'box-9', '--out', '/tmp', '--renew', '--install', 'x'], 'give one of them'],
    [['--config', 'two-files.yaml'], 'which cannot be changed at once; give --out with a folder'],
    [['--config', 'two-files.yaml', '--device', 'box-2', '--out', '/tmp'], '--device is "box-2", and device is "box-1" in the configuration'],
  ])('says of %j what is wrong', async (args, message) => {
    await writeFile(at('two-files.yaml'), 'device: box-1\nmqtt:\n  broker: mqtts://broker\n  tls:\n    cert: a.crt\n    key: a.key\n')
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../dist/agent/main.js'), 'enroll', ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (bytes: Buffer) => { said += bytes.toString() })
    await once(child, 'close')
    expect(child.exitCode).toBe(1)
    expect(said).toContain(message)
  })

  it('takes no certificate that would not serve, and leaves what is in use as it is', async () => {
    const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() }
    const enrollment = new Enrollment({ device: 'box-2', identity: at('box-2', 'box-2.pem'), clock })
    await enrollment.ask({ renew: false })
    await enrollment.install({ pem: await certificateFor(enrollment), authority: null })
    const first = await readFile(enrollment.identity, 'utf8')
    await enrollment.ask({ renew: true })
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=stranger', '-keyout', 'stranger.key', '-out', 'stranger.crt')
    const authority = await readFile(site.at('authority', 'ca.crt'), 'utf8')
    const byStranger = await certificateFor(enrollment, '-CA', at('stranger.crt'), '-CAkey', at('stranger.key'))
    newKey('any.key')
    const late = new Enrollment({ device: 'box-2', identity: enrollment.identity, clock: { ...clock, nowMs: () => Date.now() - 86_400_000 } })
    for (const [pem, by, problem, judge] of [
      ['nothing', null, /holds no certificate; give a file in PEM/],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', null, /cannot be read/],
      [await readFile(at('stranger.crt'), 'utf8'), null, /is not for the key in .*new\.key, but for another/],
      [first, authority, null],
      [byStranger, authority, /was not signed by the authority that --ca names, but by "CN=stranger"/],
      [await certificateFor(enrollment, '-days', '-1'), null, /ended at \S+Z, and the clock of this box says \S+Z: have .* signed anew, or set the clock/],
      [await certificateFor(enrollment), null, /begins at \S+Z, and the clock of this box says \S+Z: set the clock, or let NTP do it/, late],
      [await certificateFor(enrollment, '-subj', '/CN=box-3'), null, /is for "box-3", and this box is "box-2"/],
      [await certificateFor(enrollment, '-subj', '/O=site/CN=box-2'), null, /is for "O=site, CN=box-2"/],
      [await certificateFor(enrollment, '-extfile', at('use.ext')), null, /is not for a client/],
    ] as const) {
      const installing = (judge ?? enrollment).install({ pem, authority: by })
      // What is in use may be put in place again.
      if (problem === null) await installing
      else await expect(installing).rejects.toThrow(problem)
      expect(await readFile(enrollment.identity, 'utf8')).toBe(first)
    }
  })

  it('puts certificate and key in place together, whenever the power goes', async () => {
    await mkdir(at('cut'))
    for (const name of ['a', 'b']) {
      newKey(`cut/${name}.key`)
      openssl('req', '-x509', '-key', `cut/${name}.key`, '-days', '2', '-subj', '/CN=box-7', '-addext', 'extendedKeyUsage=clientAuth', '-out', `cut/${name}.crt`)
    }
    const program = await compiled('deploy/install-child')
    const serials = new Set<string>()
    for (let kill = 0; kill < 6; kill++) {
      const child = spawn(process.execPath, [program, at('cut')], { stdio: ['ignore', 'pipe', 'inherit'] })
      await once(child.stdout, 'data')
      await sleep(30 + 17 * kill)
      child.kill('SIGKILL')
      await ended(child)
      const pem = await readFile(at('cut', 'box-7.pem'), 'utf8')
      const certificate = new X509Certificate(pem)
      expect(certificate.checkPrivateKey(createPrivateKey(pem))).toBe(true)
      serials.add(certificate.serialNumber)
    }
    // The next one after a cut does not take the key of the certificate in use for a new one.
    const enrollment = new Enrollment({ device: 'box-7', identity: at('cut', 'box-7.pem'), clock: { nowMs: () => Date.now(), monotonicMs: () => 0 } })
    const inUse = createPrivateKey(await readFile(enrollment.identity, 'utf8')).export({ type: 'pkcs8', format: 'pem' })
    await writeFile(enrollment.key, inUse)
    expect(await enrollment.ask({ renew: true })).toMatchObject({ isNew: true })
    expect(await readFile(enrollment.key, 'utf8')).not.toBe(inUse)
  })
})

describe.skipIf(!mosquitto)('ca.sh', () => {
  it('is clean to shellcheck', () => {
    execFileSync('shellcheck', [join(import.meta.dirname, '../../deploy/broker/ca.sh')])
  })

  it('keeps its keys to itself, and makes no second authority', async () => {
    expect(await Promise.all(['ca.key', 'broker.key'].map(name => modeOf(site.at('authority', name))))).toEqual(['600', '600'])
    expect((await site.ca('init')).stderr).toMatch(/is there already/)
    expect((await site.ca()).code).toBe(2)
    expect((await site.ca('broker', 'a host')).stderr).toMatch(/"a host" is neither a host name nor an address/)
  })

  it('dates the authority and what it signs back by an hour, for clocks that differ', async () => {
    const begin = async (name: string) => Date.now() - Date.parse(new X509Certificate(await readFile(site.at('authority', name))).validFrom)
    for (const name of ['ca.crt', 'broker.crt']) expect([name, await begin(name) > 3_600_000]).toEqual([name, true])
    const authority = new X509Certificate(await readFile(site.at('authority', 'ca.crt')))
    expect([authority.ca, authority.verify(authority.publicKey)]).toEqual([true, true])
    expect((await site.ca('list')).stdout).toMatch(/^counts .* pawl authority [0-9a-f]{8}$/m)
  })

  it('makes a certificate for any server of the site, and leaves that of the broker and its own', async () => {
    const files = ['ca.key', 'ca.crt', 'broker.key', 'broker.crt'].map(name => site.at('authority', name))
    const before = await Promise.all(files.map(file => readFile(file, 'utf8')))
    const host = `registry.${'a'.repeat(60)}.example`
    expect((await site.ca('server', 'registry', host, '192.0.2.11')).stdout).toMatch(/registry\.crt and .*registry\.key go to the registry; until .* GMT/)
    const certificate = new X509Certificate(await readFile(site.at('authority', 'registry.crt')))
    expect(certificate.checkHost(host)).toBe(host)
    expect(certificate.checkIP('192.0.2.11')).toBe('192.0.2.11')
    expect(certificate.checkPrivateKey(createPrivateKey(await readFile(site.at('authority', 'registry.key'))))).toBe(true)
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
    expect(await modeOf(site.at('authority', 'registry.key'))).toBe('600')
    for (const [args, code, problem] of [
      [['ca', 'host'], 1, /"ca" is the authority itself/],
      [['registry'], 1, /under which host names or addresses is it reached\?/],
      [['../registry', 'host'], 2, /ca\.sh server <name>/],
    ] as const) expect(await site.ca('server', ...args)).toMatchObject({ code, stderr: expect.stringMatching(problem) as string })
    expect(await Promise.all(files.map(file => readFile(file, 'utf8')))).toEqual(before)
  })

  it('is backed by the README\'s line for cron, which names what ends within 30 days and nothing else', async () => {
    const readme = await readFile(join(import.meta.dirname, '../../deploy/README.md'), 'utf8')
    const [, line = ''] = /^0 8 \* \* 1 root (.*)$/m.exec(readme) ?? []
    const certificates = at('watched')
    await mkdir(certificates)
    const watch = () => execFileSync('sh', ['-c', line.replace('/etc/mosquitto/pawl', certificates)]).toString()
    for (const name of ['ca.crt', 'broker.crt']) await copyFile(site.at('authority', name), join(certificates, name))
    expect([line.includes('openssl'), watch()]).toEqual([true, ''])
    newKey('bridge.key')
    openssl('req', '-x509', '-key', 'bridge.key', '-days', '29', '-subj', '/CN=site-1', '-out', join(certificates, 'site-1.crt'))
    expect(watch()).toBe(`${certificates}/site-1.crt ends within 30 days\n`)
  })

  it('signs the name of a box and nothing else', async () => {
    newKey('any.key')
    const tampered = await readFile(requestOf('/CN=box-4'))
    // The last bytes are the signature.
    const lines = tampered.toString().trim().split('\n')
    const der = Buffer.from(lines.slice(1, -1).join(''), 'base64')
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1
    await writeFile(at('tampered.csr'), [lines[0], der.toString('base64'), lines.at(-1), ''].join('\n'))
    await copyFile(site.at('authority', 'ca.crt'), at('no-request.csr'))
    for (const [request, name, problem] of [
      [requestOf('/CN=box-4/CN=box-5'), '', /is for ".*"; a box's request names the box and nothing else/],
      [requestOf('/O=site/CN=box-4'), '', /names the box and nothing else/],
      [requestOf('/CN=+'), '', /names the box and nothing else/],
      [requestOf('/CN=box-4\\/#'), '', /names the box and nothing else/],
      [requestOf('/CN=box-4'), 'box-5', /is for "box-4", not for "box-5"; nothing was signed/],
      [at('tampered.csr'), '', /is no certificate request in PEM that its own key has signed/],
      [at('no-request.csr'), '', /is no certificate request/],
      [at('none.csr'), '', /cannot be read/],
    ] as const) {
      const { code, stderr } = await site.ca('sign', request, ...name ? [name] : [])
      expect([code, stderr]).toEqual([1, expect.stringMatching(problem)])
    }
    // What a request asks for beside its name is not granted.
    expect((await site.ca('sign', requestOf('/CN=box-4', '-addext', 'basicConstraints=critical,CA:TRUE'), 'box-4')).code).toBe(0)
    const { ca, subject, keyUsage } = new X509Certificate(await readFile(site.at('box-4.crt')))
    expect([ca, subject, keyUsage]).toEqual([false, 'CN=box-4', ['1.3.6.1.5.5.7.3.2']])
    expect((await site.ca('sign', requestOf('/CN=box-4'))).stderr).toMatch(/was signed already: .*\.pem; a renewed certificate has a new key/)
  })

  it('revokes one certificate or all of a name, and says what there is', async () => {
    for (const file of ['c.key', 'd.key']) newKey(file)
    const sign = async (key: string, ...more: string[]) => {
      openssl('req', '-new', '-key', key, '-subj', '/CN=box-6', '-out', 'box-6.csr')
      expect((await site.ca('sign', ...more, at('box-6.csr'), 'box-6')).code).toBe(0)
      return new X509Certificate(await readFile(site.at('box-6.crt'))).serialNumber
    }
    const [first, second] = [await sign('c.key'), await sign('d.key', '--renew')]
    const revoked = () => openssl('crl', '-in', site.at('authority', 'crl.pem'), '-noout', '-text')
    expect((await site.ca('revoke', 'box-6', first)).stdout).toMatch(/^1 revoked/)
    expect([revoked().includes(first), revoked().includes(second)]).toEqual([true, false])
    expect((await site.ca('revoke', 'box-6')).code).toBe(0)
    expect(revoked()).toContain(second)
    expect((await site.ca('revoke', 'box-6')).stderr).toMatch(/"box-6" has no certificate that counts/)
    expect((await site.ca('list')).stdout.match(/revoked .* box-6$/gm)).toHaveLength(2)
    // Free for other hardware.
    newKey('c.key')
    await sign('c.key')
  })

  it('signs what pawl asks for, of every name that a box may have', async () => {
    const key = createPrivateKey(newKey('any.key') + await readFile(at('any.key'), 'utf8'))
    await fc.assert(fc.asyncProperty(fc.stringMatching(/^[a-zA-Z0-9_-]{1,64}$/), async name => {
      await writeFile(at('any.csr'), await requestFor(name, key))
      expect(openssl('req', '-in', 'any.csr', '-noout', '-verify', '-subject', '-nameopt', 'RFC2253').trim()).toBe(`subject=CN=${name}`)
    }), { numRuns: 20 })
  })
})
