import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { authorization } from '../agent/lib/http-authentication.js'

/** The example of RFC 7616, section 3.9.1. */
const credentials = { user: 'Mufasa', password: 'Circle of Life' }
const request = { method: 'GET', uri: '/dir/index.html', count: 1, cnonce: 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ' }
const offer = (algorithm: string) => `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, `
  + 'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
const responses = {
  'SHA-256': '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1',
  MD5: '8ca523f5e9506fed4657c9700eebdbec',
}

describe('the answer to a server that asks who is there', () => {
  for (const [algorithm, response] of Object.entries(responses)) {
    it(`is the one of RFC 7616 with ${algorithm}`, () => {
      expect(authorization(offer(algorithm), credentials, request)).toBe(
        `Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=${algorithm}, `
        + 'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        + `response="${response}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
    })
  }

  it('is the one of RFC 2069, as its erratum has it, where the server knows no quality of protection', () => {
    const challenge = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    expect(authorization(challenge, { user: 'Mufasa', password: 'CircleOfLife' }, request)).toContain('response="1949323746fe6a43ef61f9606e7febea"')
  })

  it('is a digest where one is offered that it knows, whatever else is, and counts its requests', () => {
    for (const challenge of [`Basic realm="a", ${offer('MD5')}`, `${offer('MD5')}, Basic realm="a"`, `${offer('SHA-512-256')}, ${offer('MD5')}`, `Negotiate, ${offer('MD5')}`, offer('MD5').replaceAll('=', ' = ')]) {
      expect(authorization(challenge, credentials, request)).toContain(responses.MD5)
    }
    expect(authorization(offer('MD5'), credentials, { ...request, count: 26 })).toContain('nc=0000001a')
    expect(authorization('Basic realm="a"', credentials, request)).toBe('Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl')
    expect(authorization('Negotiate', credentials, request)).toBeNull()
    expect(authorization(offer('SHA-512-256'), credentials, request)).toBeNull()
  })

  it('never fails, whatever the server sends', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.string(), (challenge, user) => {
      for (const text of [challenge, `Digest ${challenge}`, `Digest realm="${challenge}`]) authorization(text, { user, password: '' }, request)
    }), { numRuns: 500 })
  })
})
