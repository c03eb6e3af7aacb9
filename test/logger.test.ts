import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createLogger, visible, withoutPasswords } from '../agent/lib/logger.js'

it('keeps passwords out of what is told, wherever in an address they stand, and leaves the rest as it is', () => {
  expect(withoutPasswords('mqtt://user:secret@host:1883 refused')).toBe('mqtt://user:***@host:1883 refused')
  expect(withoutPasswords('"rtsp://u:p/w@x@host/a" and http://other/b')).toBe('"rtsp://u:***@host/a" and http://other/b')
  expect(withoutPasswords('http://host/cgi?user=me&password=secret&size=5')).toBe('http://host/cgi?user=me&password=***&size=5')
  expect(withoutPasswords('rtsp://host/user=admin&Pwd=secret&channel=1')).toBe('rtsp://host/user=admin&Pwd=***&channel=1')
  expect(withoutPasswords('http://host:8080/a:b/c')).toBe('http://host:8080/a:b/c')
  // Letters that stand nowhere else in the line.
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom('§', '/', '@', ':', '?', '#', '%', '\'', '§'), minLength: 1 }), password => {
    fc.pre(password.includes('§'))
    const lines: string[] = []
    createLogger({ level: 'info', write: line => { lines.push(line) } }).info({ url: `mqtt://user:${password}@host/` }, `mqtt://user:${password}@host/ is away`)
    expect(lines.join('')).not.toContain('§')
  }))
})

it('shows what would steer a terminal, and sets in what would look like another message', () => {
  expect(visible('a\u001b[2Jb\u202ec\nmodel 1 serves')).toBe('a\\u001b[2Jb\\u202ec\n  model 1 serves')
  expect(visible('Größe 💥 👩‍🔧')).toBe('Größe 💥 👩‍🔧')
})
