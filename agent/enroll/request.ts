/** Certificate requests: PKCS#10 (RFC 2986), for an ECDSA key on P-256. */
import { createPublicKey, webcrypto, type KeyObject } from 'node:crypto'
import { Utf8String } from 'asn1js'
import { AttributeTypeAndValue, CertificationRequest } from 'pkijs'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const
/** id-at-commonName, RFC 5280. */
const commonName = '2.5.4.3'

/** The request in PEM: `name` is its whole subject, and it is signed with the key that it is for. */
export async function requestFor(name: string, key: KeyObject): Promise<string> {
  const { subtle } = webcrypto
  const signing = await subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), algorithm, false, ['sign'])
  const verifying = await subtle.importKey('spki', createPublicKey(key).export({ type: 'spki', format: 'der' }), algorithm, true, ['verify'])
  const request = new CertificationRequest()
  request.subject.typesAndValues.push(new AttributeTypeAndValue({ type: commonName, value: new Utf8String({ value: name }) }))
  await request.subjectPublicKeyInfo.importKey(verifying)
  await request.sign(signing, 'SHA-256')
  const base64 = Buffer.from(request.toSchema(true).toBER()).toString('base64')
  return ['-----BEGIN CERTIFICATE REQUEST-----', ...base64.match(/.{1,64}/g) ?? [], '-----END CERTIFICATE REQUEST-----', ''].join('\n')
}
