import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parse, parseDocument } from 'yaml'
import { configSchema, defaultConfig, exampleConfig, loadConfig, parseConfig } from '../agent/config.js'
import { PawlError } from '../agent/errors.js'

function problemsOf(text: string): string[] {
  try {
    parseConfig(text, 'pawl.yaml')
  } catch (error) {
    if (error instanceof PawlError && error.code === 'CONFIG_INVALID') return error.message.split('\n')
    throw error
  }
  return []
}

/** Paths of all leaves of a plain value. */
function leaves(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (value === null || typeof value !== 'object') return [path]
  const entries = Array.isArray(value) ? value.map((item, index) => [index, item] as const) : Object.entries(value)
  return entries.flatMap(([key, item]) => leaves(item, [...path, key]))
}

function schemaKeys(schema: unknown): string[] {
  if (schema === null || typeof schema !== 'object') return []
  const { properties, items } = schema as { properties?: Record<string, unknown>; items?: unknown }
  return [...Object.entries(properties ?? {}).flatMap(([key, value]) => [key, ...schemaKeys(value)]), ...schemaKeys(items)]
}

const example = exampleConfig()

describe('configuration', () => {
  it('is complete without a file', () => {
    expect(defaultConfig().mqtt.broker).toBe('embedded')
    expect(parseConfig('', 'pawl.yaml')).toEqual(parseConfig(example, 'pawl.yaml'))
  })

  it('takes the name of the box from the environment before that of the file, and refuses one that no box can have', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-config-'))
    const file = join(folder, 'pawl.yaml')
    await writeFile(file, 'device: of-the-file')
    try {
      process.env.PAWL_DEVICE = 'node-17'
      expect([(await loadConfig(file)).device, defaultConfig().device]).toEqual(['node-17', 'node-17'])
      for (const wrong of ['', 'ip-10-0-0-1.internal', 'a/b', '#']) {
        process.env.PAWL_DEVICE = wrong
        await expect(loadConfig(file)).rejects.toThrow(`PAWL_DEVICE is "${wrong}"; letters, digits, - and _ only`)
      }
    } finally {
      delete process.env.PAWL_DEVICE
      await rm(folder, { recursive: true })
    }
    expect(parseConfig('device: of-the-file', file).device).toBe('of-the-file')
  })

  it('has every key of the schema in its example', () => {
    // What goes into a list that is empty at first stands in its description.
    for (const key of schemaKeys(configSchema())) expect(example).toMatch(new RegExp(`^[ -]*${key}:|# .*\\{[a-z, ]*\\b${key}\\b`, 'm'))
  })

  it('reports a wrong type of any key at its line', () => {
    fc.assert(fc.property(fc.constantFrom(...leaves(parse(example))), fc.constantFrom({ wrong: 1 }, [[1]]), (path, wrong) => {
      const document = parseDocument(example)
      document.setIn(path, document.createNode(wrong, { flow: true }))
      const text = document.toString({ lineWidth: 0 })
      const key = String(path.findLast(step => typeof step === 'string'))
      const line = text.split('\n').findIndex(content => /wrong|\[ \[/.test(content)) + 1
      const [problem = ''] = problemsOf(text)
      expect(problem).toContain(`pawl.yaml:${String(line)}:`)
      expect(problem).toContain(key)
    }), { numRuns: 200 })
  })

  it('names file, line, column, key, value and fix of everything that is wrong, at once', () => {
    const problems = problemsOf('device: "a/b"\nrounds:\n  minuts: 5\n  alpha: 3\nmqtt:\n  broker: nonsense\n')
    expect(problems).toHaveLength(4)
    const all = problems.join('\n')
    expect(all).toMatch(/^pawl\.yaml:1:9: device is "a\/b"/m)
    expect(all).toMatch(/^pawl\.yaml:3:3: rounds\.minuts: .*did you mean "minutes"\?/m)
    expect(all).toMatch(/^pawl\.yaml:4:10: rounds\.alpha is 3/m)
    expect(all).toMatch(/^pawl\.yaml:6:11: mqtt\.broker is "nonsense"/m)
  })

  it('takes a certificate for a broker over TLS alone, and an authority for any', () => {
    const mqtt = (broker: string, tls: string) => problemsOf(`mqtt:\n  ${broker && `broker: ${broker}\n  `}tls: {${tls}}\n`)
    for (const broker of ['', 'mqtt://box:hush@host', 'ws://host/mqtt']) {
      const [problem = '', ...more] = mqtt(broker, 'cert: box.pem, key: box.pem')
      expect(more).toEqual([])
      expect(problem).toMatch(/^pawl\.yaml:\d+:15: mqtt\.tls\.cert is "box\.pem"; it is shown over TLS alone, and mqtt\.broker is /)
      expect(problem).toContain(`"${broker.replace('hush', '***') || 'embedded'}": name the broker by mqtts:// or wss://`)
      expect(mqtt(broker, 'ca: ca.crt')).toEqual([])
    }
    for (const broker of ['mqtts://host', 'wss://host/mqtt']) expect(mqtt(broker, 'ca: ca.crt, cert: box.pem, key: box.pem')).toEqual([])
  })

  it('reports broken YAML and keys that come twice', () => {
    expect(problemsOf('device: [')[0]).toMatch(/^pawl\.yaml:1:\d+: /)
    expect(problemsOf('device: a\ndevice: b\n')[0]).toMatch(/^pawl\.yaml:2:1: /)
  })

  it('never shows a password in a URL', () => {
    const problems = problemsOf('mqtt:\n  broker: http://user:hush@host\ncameras:\n  - {id: a/b, source: mjpeg, url: "http://user:hush@host/x"}\n')
    expect(problems.length).toBeGreaterThan(0)
    expect(problems.join('\n')).not.toContain('hush')
  })

  it('is any text and never another error than its own', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), text => { problemsOf(text) }), { numRuns: 300 })
  })

  it('says which file is missing', async () => {
    await expect(loadConfig('/nowhere/pawl.yaml')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('takes relative paths from the folder of the file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-config-'))
    const load = async (text: string) => {
      await writeFile(join(folder, 'pawl.yaml'), text)
      return await loadConfig(join(folder, 'pawl.yaml'))
    }
    expect(await load('data: here\nffmpeg: ./bin/ffmpeg\n')).toMatchObject({ data: join(folder, 'here'), ffmpeg: join(folder, 'bin/ffmpeg') })
    // One without a folder is looked up on the PATH.
    expect([(await load('ffmpeg: ffmpeg-7\n')).ffmpeg, (await load('')).ffmpeg]).toEqual(['ffmpeg-7', ''])
    await rm(folder, { recursive: true })
  })
})
