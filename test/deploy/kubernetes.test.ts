/** The manifests, tried without a cluster: rendered, held against the API, against rules; and how a node's box comes by its certificate. */
import { execFile, spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Container, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { parseConfig } from '../../agent/config.js'
import { ended } from '../../agent/lib/child.js'
import { brokenIn, daemonSetIn, podRules, problemsOf, rendered, type KubernetesObject } from './kubernetes-objects.js'

const root = join(import.meta.dirname, '..', '..')
const overlays = ['base', 'gpu', 'cameras'] as const
const objects = Object.fromEntries(
  await Promise.all(overlays.map(async overlay => [overlay, await rendered(overlay)] as const)),
) as Record<typeof overlays[number], KubernetesObject[]>
const spoilt = (spoil: (pod: PodSpec, container: Container) => void) => {
  const copy = structuredClone(objects.base)
  const { pod } = daemonSetIn(copy)
  const [container] = pod.containers
  if (container) spoil(pod, container)
  return copy
}

describe('the manifests', () => {
  it('are what the API of Kubernetes knows, in every overlay', () => {
    for (const overlay of overlays) {
      const kinds = objects[overlay].map(({ kind }) => kind).sort()
      expect(kinds).toEqual(['ConfigMap', 'DaemonSet', 'Namespace', 'NetworkPolicy', 'PriorityClass', 'ServiceAccount'])
      const placed = objects[overlay].filter(({ kind }) => !['Namespace', 'PriorityClass'].includes(kind))
      expect(new Set(placed.map(({ metadata }) => metadata?.namespace))).toEqual(new Set(['pawl']))
    }
    expect(problemsOf(overlays.flatMap(overlay => objects[overlay]))).toEqual([])
    const wrong = [
      ...spoilt((_, container) => { Object.assign(container, { livenesProbe: {} }) }),
      ...spoilt(pod => { Object.assign(pod, { terminationGracePeriodSeconds: '20' }) }),
      ...spoilt((_, container) => { Object.assign(container, { name: undefined }) }),
    ]
    const found = problemsOf(wrong).map(text => /livenesProbe|'string' is not assignable to type 'number'|'name' is missing/.exec(text)?.[0])
    expect(found.sort()).toEqual([
      '\'name\' is missing', '\'string\' is not assignable to type \'number\'', 'livenesProbe'])
  })

  it.each(overlays)('keep the pod of %s to what it needs', overlay => {
    expect(brokenIn(objects[overlay])).toEqual([])
  })

  const spoils: Record<string, (pod: PodSpec, container: Container) => void> = {
    'no root': pod => { pod.securityContext = { ...pod.securityContext, runAsUser: 0 } },
    'seccomp of the runtime': pod => { pod.securityContext = { ...pod.securityContext, seccompProfile: { type: 'Unconfined' } } },
    'no namespace of the host': pod => { pod.hostNetwork = true },
    'no token': pod => { pod.automountServiceAccountToken = true },
    'no way to more': (_, container) => { container.securityContext = { ...container.securityContext, privileged: true } },
    'a root that is only read': (_, container) => { container.securityContext = { ...container.securityContext, readOnlyRootFilesystem: false } },
    'no capability': (_, container) => { container.securityContext = { ...container.securityContext, capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } } },
    'requests and limits': (_, container) => { container.resources = { limits: { cpu: '2' } } },
    'a tag, which is not latest': (_, container) => { container.image = 'pawl:latest' },
    'probes, of which none restarts a box that is merely degraded': (_, container) => { container.livenessProbe = { httpGet: { path: '/healthz', port: 9464 } } },
    'time to end': pod => { pod.terminationGracePeriodSeconds = 10 },
    'one folder of the host': pod => { pod.volumes = [...pod.volumes ?? [], { name: 'socket', hostPath: { path: '/run/containerd' } }] },
    'the name of its node': (_, container) => { container.env = [{ name: 'PAWL_DEVICE', value: 'box-1' }] },
  }
  it.each(Object.keys(podRules))('would not pass without: %s', rule => {
    const spoil = spoils[rule]
    const broken = spoil ? spoilt(spoil) : objects.base.filter(({ kind }) => kind !== 'NetworkPolicy')
    expect(brokenIn(broken)).toEqual([rule])
  })

  it('give a GPU, and a camera\'s device, to the overlays that are for them', () => {
    const [gpu, cameras] = [daemonSetIn(objects.gpu).pod, daemonSetIn(objects.cameras).pod]
    expect(gpu).toMatchObject({ runtimeClassName: 'nvidia', nodeSelector: { 'pawl/box': 'gpu' }, containers: [{ image: expect.stringMatching(/^pawl-cuda:/) as string, resources: { limits: { 'nvidia.com/gpu': '1', memory: '4Gi' } } }] })
    expect(cameras).toMatchObject({ securityContext: { supplementalGroups: [44], runAsNonRoot: true }, containers: [{ resources: { limits: { 'squat.ai/video': '1', memory: '4Gi' } } }] })
  })

  it('stand beside each other, so that a cluster may have nodes of every kind', () => {
    const sets = overlays.map(overlay => daemonSetIn(objects[overlay]).set)
    expect(new Set(sets.map(({ metadata }) => metadata?.name)).size).toBe(overlays.length)
    const chosen = sets.map(({ spec }) => spec?.template.spec?.nodeSelector?.['pawl/box'])
    for (const { spec } of sets) {
      const wanted = Object.entries(spec?.selector.matchLabels ?? {})
      expect(sets.filter(other => wanted.every(([key, value]) => other.spec?.template.metadata?.labels?.[key] === value))).toHaveLength(1)
      expect(chosen.filter(value => value === spec?.template.spec?.nodeSelector?.['pawl/box'])).toHaveLength(1)
    }
  })

  it('have a configuration that holds, and whose files are where the pod has them', async () => {
    const config = parseConfig(await readFile(join(root, 'deploy', 'kubernetes', 'base', 'pawl.yaml'), 'utf8'), 'pawl.yaml')
    const mounts = daemonSetIn(objects.base).containers.at(-1)?.volumeMounts?.map(({ mountPath }) => mountPath) ?? []
    for (const path of [config.data, ...Object.values(config.mqtt.tls)]) expect(mounts.some(mount => `${path}/`.startsWith(`${mount}/`)), path).toBe(true)
    expect([config.monitoring.port, config.monitoring.address, config.dashboard.address]).toEqual([daemonSetIn(objects.base).pod.containers[0]?.ports?.[0]?.containerPort, '0.0.0.0', '127.0.0.1'])
  })
})

describe('the certificate of a node\'s box', () => {
  let folder = ''
  const at = (...path: string[]) => join(folder, ...path)
  const environment = () => ({ ...process.env, PATH: `${at('bin')}:${process.env.PATH ?? ''}`, CA: at('authority') })
  /** From the folder beside the authority, which it is told of as it stands there. */
  const enrollWith = (authority: string, ...args: string[]) => promisify(execFile)(at('deploy', 'kubernetes', 'enroll.sh'), args, { cwd: folder, env: { ...environment(), CA: authority } })
  const enroll = (...args: string[]) => enrollWith('authority', ...args)
  /** The pod's folders, here. */
  const here = (text: string) => text.replaceAll('/etc/pawl', at('etc')).replaceAll('/data', at('data'))
  const commonName = async () => new X509Certificate(await readFile(at('data', 'tls', 'identity.pem'))).subject

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-nodes-'))
    for (const part of ['kubernetes', 'broker']) await cp(join(root, 'deploy', part), at('deploy', part), { recursive: true })
    for (const part of ['bin', 'data', 'etc/authority']) await mkdir(at(part), { recursive: true })
    await writeFile(at('etc', 'pawl.yaml'), here(await readFile(join(root, 'deploy', 'kubernetes', 'base', 'pawl.yaml'), 'utf8')))
    await promisify(execFile)(at('deploy', 'broker', 'ca.sh'), ['init'], { env: environment() })
    await copyFile(at('authority', 'ca.crt'), at('etc', 'authority', 'ca.crt'))
    const programs = {
      pawl: `exec "${process.execPath}" "${join(root, 'dist', 'agent', 'main.js')}" "$@"`,
      // A cluster of one node, "node-1": what is to be done in the pod is done here, in its folders.
      kubectl: `case " $* " in
  *" get pods "*"spec.nodeName=node-1 "*) echo pawl-x7k2p ;;
  *" get pods "*) ;;
  *) while [ "$1" != -- ]; do shift; done; shift
     words=(); for word in "$@"; do word=\${word//\\/etc\\/pawl/${at('etc')}}; words+=("\${word//\\/data/${at('data')}}"); done
     PAWL_DEVICE=node-1 exec "\${words[@]}" ;;
esac`,
    }
    for (const [name, body] of Object.entries(programs)) {
      await writeFile(at('bin', name), `#!/bin/bash\n${body}\n`)
      await chmod(at('bin', name), 0o755)
    }
  })
  afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

  /** The very command of the init container. */
  function initContainer() {
    const [container] = daemonSetIn(objects.base).pod.initContainers ?? []
    const [, , ...command] = container?.command ?? []
    const [shell = '', ...options] = command
    const child = spawn(shell, [...options, ...(container?.args ?? []).map(here)], { env: { ...environment(), PAWL_DEVICE: 'node-1' }, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    let said = ''
    child.stdout.on('data', (data: Buffer) => { said += data.toString() })
    return { child, said: () => said, waits: () => vi.waitFor(() => { expect(said).toContain('waiting for its certificate: deploy/kubernetes/enroll.sh node-1') }, { timeout: 30_000, interval: 50 }) }
  }

  it('is asked for at its first start, signed for the node that is named and no other, put in place, and renewed', async () => {
    const first = initContainer()
    await first.waits()
    // The node goes down meanwhile: the same key asks again.
    const request = await readFile(at('data', 'tls', 'node-1.csr'), 'utf8')
    process.kill(-(first.child.pid ?? 0), 'SIGKILL')
    await ended(first.child)
    const second = initContainer()
    await second.waits()
    const publicKey = async (file: string) => (await promisify(execFile)('openssl', ['req', '-in', file, '-noout', '-pubkey'])).stdout
    await writeFile(at('former.csr'), request)
    expect(await publicKey(at('data', 'tls', 'node-1.csr'))).toBe(await publicKey(at('former.csr')))

    await expect(enroll('node-2')).rejects.toMatchObject({ stderr: expect.stringContaining('no box runs on "node-2"') as string })
    await expect(enroll('ip-10-0-0-1.internal')).rejects.toMatchObject({ stderr: expect.stringContaining('a node with another name cannot be a box') as string })
    // Before anything is done in the pod, where a renewal would begin with another key.
    await expect(enrollWith('deploy', '--renew', 'node-1')).rejects.toMatchObject({ stderr: `enroll.sh: there is no authority in ${at('deploy')}; say where it is with CA=<folder>\n` })
    // A node that would speak under the name of another.
    const own = await readFile(at('data', 'tls', 'node-1.csr'))
    await promisify(execFile)('pawl', ['enroll', '--device', 'node-2', '--out', at('other')], { env: environment() })
    await copyFile(at('other', 'node-2.csr'), at('data', 'tls', 'node-1.csr'))
    await expect(enroll('node-1')).rejects.toMatchObject({ stderr: expect.stringContaining('is for "node-2", not for "node-1"; nothing was signed') as string })
    await writeFile(at('data', 'tls', 'node-1.csr'), own)

    expect((await enroll('node-1')).stdout).toContain('node-1 has its certificate')
    expect((await ended(second.child)).code).toBe(0)
    expect(await commonName()).toBe('CN=node-1')
    // Started anew it has nothing to do.
    expect((await ended(initContainer().child)).code).toBe(0)
    const before = await readFile(at('data', 'tls', 'identity.pem'), 'utf8')
    expect((await enroll('--renew', 'node-1')).stdout).toContain('node-1 has its certificate')
    expect(await readFile(at('data', 'tls', 'identity.pem'), 'utf8')).not.toBe(before)
    expect(await commonName()).toBe('CN=node-1')
  })
})
