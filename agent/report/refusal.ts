/** Why a broker was not reached, in words that say what to do. */
import { isIP } from 'node:net'
import { connect } from 'node:tls'
import { isOfUnknownSigner, timeOf, untimely } from '../lib/certificates.js'
import { withoutPasswords } from '../lib/logger.js'
import { misnamed, problemsOf, type TlsContents, type TlsFiles } from './tls-files.js'

export type ConnectionError = Error & { code?: unknown }

export interface Circumstances {
  url: string
  /** Name of this box; null: it is none, but somebody who follows boxes. */
  device: string | null
  tls: TlsFiles
  /** As they were at the try. */
  contents: TlsContents
  nowMs: number
  signal: AbortSignal
}

/** For a look at the broker's certificate. */
const lookMs = 3000

/** TLS alerts (RFC 8446, 6.2) by which a broker turns a box away, by number. */
const alerts: Readonly<Record<string, string>> = {
  40: 'the broker turns this box away (TLS handshake failure): it may want a certificate, in mqtt.tls.cert, or other versions of TLS',
  42: 'the broker takes this box\'s certificate for a bad one: see what its log says',
  43: 'the broker does not take this kind of certificate: it must be one for clients',
  44: 'the broker\'s list has this box\'s certificate as revoked: enroll the box anew',
  45: 'the broker takes this box\'s certificate for expired, or its own list of revoked ones is',
  46: 'the broker does not take this box\'s certificate: see what its log says',
  48: 'the broker does not know who signed this box\'s certificate: have it signed by the authority that the broker trusts',
  51: 'the broker cannot verify this box\'s certificate: have it signed by the authority that the broker trusts',
  116: 'the broker wants a certificate: name this box\'s in mqtt.tls.cert and mqtt.tls.key',
}

/** CONNACK of MQTT 3.1.1 and of MQTT 5: user or password, not authorized. */
const turnedAway: ReadonlySet<unknown> = new Set([4, 5, 0x86, 0x87])

/** Whether the broker has answered, and does not let this user in. */
export function isTurnedAway(error: ConnectionError | string): boolean {
  return typeof error !== 'string' && turnedAway.has(error.code)
}

/** The error with what to do; then what is wrong with the box's own certificates, which may be behind it. */
export async function explained(error: ConnectionError | string, circumstances: Circumstances): Promise<string> {
  const { device, tls, contents, nowMs } = circumstances
  const reason = typeof error === 'string' ? error : await reasonOf(error, circumstances)
  // Only where the broker was reached: it may have ended the connection because of it.
  const name = device !== null && (typeof error === 'string' || isTurnedAway(error)) ? misnamed(tls, contents, device) : null
  return [reason, ...problemsOf(tls, contents, nowMs), ...name === null ? [] : [name]].join('; ')
}

type Look = Pick<Circumstances, 'url' | 'device' | 'nowMs' | 'signal'>

async function reasonOf(error: ConnectionError, look: Look): Promise<string> {
  const message = withoutPasswords(error.message || String(error))
  const alert = /SSL alert number (\d+)/.exec(message)?.[1]
  if (alert !== undefined && alerts[alert] !== undefined) return alerts[alert]
  if (isOfUnknownSigner(error)) return `${message}; name who signed the broker's certificate in mqtt.tls.ca`
  if (isTurnedAway(error)) {
    return `${message}; ${look.device === null ? 'does the broker know this user? See mqtt.username and mqtt.passwordFile of the file that --config names (or PAWL_MQTT_PASSWORD), or mqtt.tls.cert' : 'does the broker know this box? See mqtt.username, its password, mqtt.tls.cert'}`
  }
  switch (error.code) {
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID': return `${message}: ${await brokersTimes(look)}`
    case 'ERR_TLS_CERT_ALTNAME_INVALID': return `${message}; mqtt.broker must name the host that its certificate is for`
    default: return message
  }
}

/** A second look, that trusts nothing and says nothing: TLS ends a connection before its certificate can be seen. */
async function brokersTimes({ url, nowMs, signal }: Look): Promise<string> {
  const fallback = `the clock of this box says ${timeOf(nowMs)}: is that right?`
  const { hostname, port, protocol } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const usual = protocol === 'wss:' ? 443 : 8883
  return new Promise(resolve => {
    // Only a name is sent as one (RFC 6066, 3).
    const named = isIP(host) === 0 && { servername: host }
    const socket = connect({ host, port: Number(port) || usual, rejectUnauthorized: false, timeout: lookMs, ...named })
    const tell = (text: string) => {
      socket.destroy()
      resolve(text)
    }
    socket.once('secureConnect', () => {
      const { valid_from: validFrom, valid_to: validTo } = socket.getPeerCertificate()
      const untimeliness = untimely({ validFrom, validTo }, { nowMs, renewal: 'give the broker a new one' })
      tell(untimeliness === null ? fallback : `the broker's certificate ${untimeliness}`)
    })
    socket.once('error', () => { tell(fallback) })
    socket.once('timeout', () => { tell(fallback) })
    signal.addEventListener('abort', () => { tell(fallback) }, { once: true })
  })
}
