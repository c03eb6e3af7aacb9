/** The Dockerfiles, as far as they can be tried without an engine: their rules, and an image that is put together by hand as they say. */
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative, sep } from 'node:path'
import { promisify } from 'node:util'
import { DockerfileParser, type JSONInstruction } from 'dockerfile-ast'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../free-port.js'
import { Daemon } from '../site/daemon.js'
import { copyLabels } from '../site/labels.js'
import { brokenIn, fromOf, rules } from './dockerfile-rules.js'

const root = join(import.meta.dirname, '..', '..')
const deploy = (...path: string[]) => join(root, 'deploy', ...path)
const dockerfile = await readFile(deploy('docker', 'Dockerfile'), 'utf8')
const cuda = await readFile(deploy('docker', 'Dockerfile.cuda'), 'utf8')

interface Package { version: string; engines: { node: string }; dependencies: Record<string, string>; optionalDependencies: Record<string, string> }
interface Lock { packages: Record<string, { dev?: boolean; devOptional?: boolean; optional?: boolean; cpu?: string[] }> }
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Package
const { packages } = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock

const argument = (file: string, name: string) => new RegExp(`^ARG ${name}=(.*)$`, 'm').exec(file)?.[1]

describe('the rules for Dockerfiles', () => {
  it.each(Object.entries(rules))('%s finds its own bad example, and no other rule does', (name, { example }) => {
    expect(new Set(brokenIn(example).map(({ rule }) => rule))).toEqual(new Set([name]))
  })

  it.each([['Dockerfile', dockerfile], ['Dockerfile.cuda', cuda]])('find nothing in %s', (_, text) => {
    expect(brokenIn(text)).toEqual([])
  })
})

describe('the images', () => {
  it('are of this version, on one Node that the package takes and that knows how many cores a container has', () => {
    expect(argument(dockerfile, 'VERSION')).toBe(manifest.version)
    expect(argument(cuda, 'PAWL_IMAGE')).toBe(`pawl:${manifest.version}`)
    expect(argument(cuda, 'NODE_IMAGE')).toBe(argument(dockerfile, 'NODE_IMAGE'))
    const [, major, minor] = /^node:(\d+)\.(\d+)\.\d+-bookworm-slim$/.exec(argument(dockerfile, 'NODE_IMAGE') ?? '') ?? []
    // libuv reads the quota of a control group from Node 22.12 on; tfjs-node-gpu does not load in 23.
    expect(Number(major)).toBe(22)
    expect(Number(minor)).toBeGreaterThanOrEqual(12)
  })

  it('have native packages for amd64 and arm64', async () => {
    for (const cpu of ['x64', 'arm64']) {
      expect(packages[`node_modules/@img/sharp-linux-${cpu}`]).toMatchObject({ cpu: [cpu] })
      expect(packages[`node_modules/@img/sharp-libvips-linux-${cpu}`]).toMatchObject({ cpu: [cpu] })
      expect(await readdir(join(root, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6', 'linux', cpu))).toEqual(expect.arrayContaining(['onnxruntime_binding.node', 'libonnxruntime.so.1']))
    }
    // Whatever else compiles or downloads when it is installed would have to be told of in the Dockerfile.
    const native = Object.entries(packages).filter(([, { dev, optional, cpu }]) => dev !== true && optional !== true && cpu).map(([name]) => name)
    expect(native).toEqual([])
  })

  it('hold what the program imports: nothing of it is there for development alone', async () => {
    const known = new Set([...Object.keys(manifest.dependencies), ...Object.keys(manifest.optionalDependencies)])
    const missing = new Map<string, string>()
    for (const file of await readdir(join(root, 'dist'), { recursive: true })) {
      if (!/^(agent|trainer)\/.*\.js$/.test(file) || file.includes(`${sep}page${sep}`)) continue
      const { importedFiles } = ts.preProcessFile(await readFile(join(root, 'dist', file), 'utf8'), true, true)
      for (const { fileName } of importedFiles) {
        if (/^[.#]|^node:/.test(fileName) || builtinModules.includes(fileName)) continue
        const [scope = '', name = ''] = fileName.split('/')
        const found = scope.startsWith('@') ? `${scope}/${name}` : scope
        if (!known.has(found)) missing.set(found, file)
      }
    }
    expect([...missing]).toEqual([])
  })
})

/** Whether a file of the repository is sent to the builder. */
function sent(path: string, ignore: readonly string[]): boolean {
  let answer = true
  for (const line of ignore) {
    const [pattern, keeps] = line.startsWith('!') ? [line.slice(1), true] : [line, false]
    const expression = pattern.replaceAll('.', '\\.').replaceAll('**/', '\0').replaceAll('*', '[^/]*').replaceAll('\0', '(?:.*/)?')
    if (new RegExp(`^${expression}(/|$)`).test(path)) answer = keeps
  }
  return answer
}

describe('an image put together by hand', () => {
  let folder = ''
  const app = () => join(folder, 'app')
  const pawl = (...args: string[]) => promisify(execFile)(process.execPath, [join(app(), 'dist', 'agent', 'main.js'), ...args], { cwd: join(folder, 'data') })

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-image-'))
    await mkdir(join(folder, 'data'))
    const ignore = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n').filter(line => line !== '' && !line.startsWith('#'))
    const { stdout } = await promisify(execFile)('git', ['ls-files'], { cwd: root, maxBuffer: 2 ** 24 })
    const context = stdout.split('\n').filter(path => path !== '' && sent(path, ignore))
    const stage = DockerfileParser.parse(dockerfile.slice(dockerfile.lastIndexOf('\nFROM ')))
    for (const copy of stage.getCOPYs()) {
      const words = copy.getArguments().map(word => word.getValue())
      const [sources, target] = [words.slice(0, -1), words.at(-1) ?? '']
      const from = fromOf(copy)
      for (const source of sources) {
        if (from === 'modules') await installed(join(app(), target))
        else if (from === 'build') await cp(join(root, relative('/app', source)), join(app(), target), { recursive: true })
        else {
          const files = context.filter(path => path === source || path.startsWith(`${source}/`))
          expect(files, source).not.toEqual([])
          for (const path of files) await cp(join(root, path), join(app(), target.endsWith('/') || path === source ? path : join(target, relative(source, path))))
        }
      }
    }
  })

  afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

  /** What `npm ci --omit=dev` would install, without the optional engine. */
  async function installed(target: string): Promise<void> {
    await mkdir(target, { recursive: true })
    for (const name of await readdir(join(root, 'node_modules'))) {
      const names = name.startsWith('@') ? (await readdir(join(root, 'node_modules', name))).map(inner => `${name}/${inner}`) : [name]
      for (const one of names) {
        const entry = packages[`node_modules/${one}`]
        const optional = entry?.optional === true && !one.startsWith('@img/')
        if (!entry || entry.dev === true || entry.devOptional === true || optional) continue
        await mkdir(dirname(join(target, one)), { recursive: true })
        await symlink(join(root, 'node_modules', one), join(target, one))
      }
    }
  }

  it('trains, checks and runs with what is there, writes to the data folder alone, and answers its own health check', async () => {
    const before = (await readdir(app(), { recursive: true })).length
    await copyLabels('labeled', 5, join(folder, 'labeled'))
    await copyLabels('validation', 5, join(folder, 'unlabeled'))
    const train = await pawl('train', '--labeled', join(folder, 'labeled'), '--unlabeled', join(folder, 'unlabeled'), '--out', 'model', '--steps', '1', '--backend', 'onnxruntime', '--device', 'cpu', '--json')
    expect(JSON.parse(train.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ steps: 1, backend: 'onnxruntime' })
    const port = await freePort()
    const config = join(folder, 'pawl.yaml')
    await writeFile(config, `{data: data, device: of-the-file, labels: {import: ''}, dashboard: {port: 0}, monitoring: {port: ${String(port)}}, mqtt: {port: ${String(await freePort())}}}`)
    const daemon = new Daemon({ config, main: join(app(), 'dist', 'agent', 'main.js'), environment: { PAWL_DEVICE: 'node-17' } })
    try {
      await daemon.said(/^pawl is running as "node-17"/)
      const [check] = DockerfileParser.parse(dockerfile).getHEALTHCHECKs()
      const [program = '', ...args] = (JSON.parse((check as unknown as JSONInstruction).getArgumentsContent()?.replace(/^CMD /, '') ?? '[]') as string[]).map(word => word.replace('9464', String(port)))
      await daemon.said(/^camera belt is online/)
      expect((await promisify(execFile)(program, args)).stdout).toContain('"state":"ok"')
      expect(await daemon.end()).toEqual({ code: 0, signal: null })
      await expect(promisify(execFile)(program, args)).rejects.toMatchObject({ code: 1, stdout: expect.stringContaining('ECONNREFUSED') as string })
    } finally {
      await daemon.cut()
    }
    expect((await readdir(app(), { recursive: true })).length).toBe(before)
  })
})
