/**
 * Kubernetes objects against the types that are made of its OpenAPI document, which know every field; and against what this repository asks of
 * a pod.
 */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { DaemonSet } from 'kubernetes-types/apps/v1.d.ts'
import type { Container, PodSpec } from 'kubernetes-types/core/v1.d.ts'
import ts from 'typescript'
import { parseAllDocuments } from 'yaml'

const run = promisify(execFile)
const manifests = join(import.meta.dirname, '..', '..', 'deploy', 'kubernetes')

export interface KubernetesObject { apiVersion: string; kind: string; metadata?: { name?: string; namespace?: string } }

/** What `kubectl kustomize` makes of a folder of deploy/kubernetes. */
export async function rendered(overlay: string): Promise<KubernetesObject[]> {
  const { stdout: told } = await run('kubectl', ['version', '--client', '--output=json'])
  const { clientVersion: { minor } } = JSON.parse(told) as { clientVersion: { minor: string } }
  const copy = await mkdtemp(join(tmpdir(), 'pawl-kustomize-'))
  try {
    await cp(manifests, copy, { recursive: true })
    const file = join(copy, overlay, 'kustomization.yaml')
    // That of Debian 12 has kustomize 2, where three fields are called otherwise.
    if (Number.parseInt(minor, 10) < 21 && overlay !== 'base') {
      const former = (await readFile(file, 'utf8')).replace('resources:', 'bases:')
      await writeFile(file, former.replace('patches:\n  - path: daemon-set.yaml', 'patchesStrategicMerge:\n  - daemon-set.yaml\npatchesJson6902:'))
    }
    const { stdout } = await run('kubectl', ['kustomize', join(copy, overlay)])
    return parseAllDocuments(stdout).map(document => document.toJS() as KubernetesObject)
  } finally {
    await rm(copy, { recursive: true })
  }
}

/** Fields that the API does not know, or that are missing or of another type. */
export function problemsOf(objects: readonly KubernetesObject[]): string[] {
  const name = join(import.meta.dirname, 'objects.ts')
  const text = objects.map(({ apiVersion, kind, ...rest }, index) => {
    const module = `kubernetes-types/${apiVersion === 'v1' ? 'core/v1' : apiVersion.replace('.k8s.io', '')}.d.ts`
    return `export const a${String(index)}: import('${module}').${kind} = ${JSON.stringify({ apiVersion, kind, ...rest })}`
  }).join('\n')
  const options: ts.CompilerOptions = {
    strict: true, noEmit: true, skipLibCheck: true, types: [], allowImportingTsExtensions: true,
    module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
  }
  const host = ts.createCompilerHost(options)
  const withText: ts.CompilerHost = {
    ...host,
    fileExists: path => path === name || host.fileExists(path),
    getSourceFile: (path, version, ...rest) => path === name ? ts.createSourceFile(path, text, version) : host.getSourceFile(path, version, ...rest),
  }
  const program = ts.createProgram([name], options, withText)
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

export function daemonSetIn(objects: readonly KubernetesObject[]): { pod: PodSpec; containers: Container[]; set: DaemonSet } {
  const set = objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet | undefined
  const pod = set?.spec?.template.spec
  if (!set || !pod) throw new Error('there is no DaemonSet with a pod')
  return { set, pod, containers: [...pod.initContainers ?? [], ...pod.containers] }
}

type Rule = (pod: PodSpec, objects: readonly KubernetesObject[]) => boolean
const each = (holds: (container: Container) => boolean): Rule => pod => [...pod.initContainers ?? [], ...pod.containers].every(holds)

/** The Pod Security Standard "restricted", but for the volume of the host; and what a box needs to live on a node. */
export const podRules: Record<string, Rule> = {
  'no root': ({ securityContext: own }) => own?.runAsNonRoot === true && (own.runAsUser ?? 0) > 0 && (own.runAsGroup ?? 0) > 0,
  'seccomp of the runtime': ({ securityContext: own }) => own?.seccompProfile?.type === 'RuntimeDefault',
  'no namespace of the host': ({ hostNetwork, hostPID, hostIPC }) => [hostNetwork, hostPID, hostIPC].every(value => value === undefined),
  'no token': ({ automountServiceAccountToken: token }) => token === false,
  'no way to more': each(({ securityContext: own }) => own?.allowPrivilegeEscalation === false && own.privileged === undefined),
  'a root that is only read': each(({ securityContext: own }) => own?.readOnlyRootFilesystem === true),
  'no capability': each(({ securityContext: own }) => own?.capabilities?.drop?.includes('ALL') === true && own.capabilities.add === undefined),
  'requests and limits': each(({ resources }) => ['cpu', 'memory'].every(what => resources?.limits?.[what] !== undefined && resources.requests?.[what] !== undefined)),
  'a tag, which is not latest': each(({ image }) => /^[\w./-]+:\d+\.\d+\.\d+$/.test(image ?? '')),
  'probes, of which none restarts a box that is merely degraded': ({ containers }) => containers.every(({ livenessProbe: lives, startupProbe: starts, readinessProbe: ready }) =>
    lives?.httpGet?.path === '/livez' && starts?.httpGet?.path === '/livez' && ready?.httpGet?.path === '/healthz'),
  'time to end': ({ terminationGracePeriodSeconds: seconds = 0 }) => seconds > 15,
  'one folder of the host': ({ volumes = [] }) => volumes.filter(({ hostPath }) => hostPath).map(({ hostPath }) => hostPath?.path).join() === '/var/lib/pawl',
  'the name of its node': each(({ env = [] }) => env.some(({ name, valueFrom }) => name === 'PAWL_DEVICE' && valueFrom?.fieldRef?.fieldPath === 'spec.nodeName')),
  'a network policy': (_, objects) => objects.some(({ kind }) => kind === 'NetworkPolicy'),
}

export function brokenIn(objects: readonly KubernetesObject[]): string[] {
  const { pod } = daemonSetIn(objects)
  return Object.entries(podRules).filter(([, holds]) => !holds(pod, objects)).map(([name]) => name)
}
