/** Rules for Dockerfiles: hadolint's, by its numbers, as far as they concern images of Debian and Node; and a few of this repository's own. */
import { DockerfileParser, type Dockerfile, type Flag, type Instruction } from 'dockerfile-ast'

export interface Broken {
  rule: string
  /** Counted from 1. */
  line: number
  text: string
}

interface Rule {
  /** What hadolint says of it. */
  says: string
  /** A Dockerfile that breaks it, and no other rule. */
  example: string
  /** The instructions that break it. */
  broken: (file: File) => Instruction[]
}

/** A stage ends before the next FROM. */
interface Stage {
  from: Instruction
  name: string | null
  image: string
  instructions: Instruction[]
}

class File {
  readonly instructions: Instruction[]
  readonly stages: Stage[] = []

  constructor(text: string) {
    const parsed: Dockerfile = DockerfileParser.parse(text)
    this.instructions = parsed.getInstructions()
    const defaults = new Map(parsed.getInitialARGs().map(arg => { const property = arg.getProperty(); return [property?.getName() ?? '', property?.getValue() ?? ''] as const }))
    for (const from of parsed.getFROMs()) {
      const image = (from.getImage() ?? '').replaceAll(/\$\{(\w+)\}/g, (_, name: string) => defaults.get(name) ?? '')
      this.stages.push({ from, name: from.getBuildStage(), image, instructions: [] })
    }
    let stage: Stage | undefined
    for (const instruction of this.instructions) {
      stage = this.stages.find(({ from }) => from === instruction) ?? stage
      stage?.instructions.push(instruction)
    }
  }

  get last(): Stage | undefined {
    return this.stages.at(-1)
  }

  /** Those that the image of a stage is built by, from its root on. */
  lineage(stage: Stage): Instruction[] {
    const below = this.stages.find(({ name }) => name !== null && name === stage.image)
    return [...below ? this.lineage(below) : [], ...stage.instructions]
  }

  of(keyword: string): Instruction[] {
    return this.instructions.filter(instruction => instruction.getKeyword() === keyword)
  }

  /** RUNs of which a command fits. */
  running(pattern: RegExp): Instruction[] {
    return this.of('RUN').filter(run => commandsOf(run).some(command => pattern.test(command)))
  }

  /** Names of stages before an instruction. */
  stagesBefore(instruction: Instruction): (string | null)[] {
    const own = this.stages.findIndex(({ instructions }) => instructions.includes(instruction))
    return this.stages.slice(0, own).map(({ name }) => name)
  }
}

const textOf = (instruction: Instruction) => instruction.getArgumentsContent() ?? ''
const rawOf = (instruction: Instruction) => instruction.getRawArgumentsContent() ?? ''
const commandsOf = (run: Instruction) => textOf(run).split(/&&|\|\||;|\||\n/).map(command => command.trim())
const isJson = (instruction: Instruction) => textOf(instruction).startsWith('[')
export const fromOf = (copy: Instruction) => (copy as unknown as { getFlags: () => Flag[] }).getFlags().find(flag => flag.getName() === 'from')?.getValue() ?? null
const repeated = (instructions: readonly Instruction[]) => instructions.slice(1)
const plain = (body: string) => `FROM debian:12.11-slim\n${body}\nUSER 1000:1000\nHEALTHCHECK CMD ["true"]\nENTRYPOINT ["true"]\n`

export const rules: Record<string, Rule> = {
  DL3000: { says: 'Use absolute WORKDIR', example: plain('WORKDIR app'), broken: file => file.of('WORKDIR').filter(workdir => !/^["']?[/$]/.test(textOf(workdir))) },
  DL3002: {
    says: 'Last USER should not be root',
    example: 'FROM debian:12.11-slim\nUSER 1000:1000\nRUN id\nUSER 0:0\nHEALTHCHECK CMD ["true"]\nENTRYPOINT ["true"]\n',
    broken: ({ last }) => (last?.instructions ?? []).filter(instruction => instruction.getKeyword() === 'USER').slice(-1)
      .filter(user => /^(root|0+)(:|$)/.test(textOf(user))),
  },
  DL3003: { says: 'Use WORKDIR to switch to a directory', example: plain('RUN cd /tmp && ls'), broken: file => file.running(/^cd\b/) },
  DL3004: { says: 'Do not use sudo', example: plain('RUN sudo id'), broken: file => file.running(/^sudo\b/) },
  DL3007: {
    says: 'Using latest is prone to errors; always tag the version of an image explicitly (and DL3006)',
    example: plain('').replace(':12.11-slim', ':latest'),
    broken: file => file.stages.filter(({ image, from }) => !file.stagesBefore(from).includes(image)
      && !/:(?!latest\b)[\w.-]+(@sha256:[0-9a-f]{64})?$/.test(image)).map(({ from }) => from),
  },
  DL3008: {
    says: 'Pin versions in apt get install', example: plain('RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*'),
    broken: file => file.of('RUN').filter(run => aptPackages(run).some(name => !/=\d/.test(name))),
  },
  DL3009: {
    says: 'Delete the apt lists after installing something', example: plain('RUN apt-get update && apt-get install -y --no-install-recommends tini=0.19.*'),
    broken: file => file.running(/^apt-get update/).filter(run => !textOf(run).includes('rm -rf /var/lib/apt/lists/*')),
  },
  DL3014: {
    says: 'Use the -y switch', example: plain('RUN apt-get update && apt-get install --no-install-recommends tini=0.19.* && rm -rf /var/lib/apt/lists/*'),
    broken: file => file.running(/^apt-get install(?!.* (-y|--yes)\b)/),
  },
  DL3015: {
    says: 'Avoid additional packages by specifying --no-install-recommends', example: plain('RUN apt-get update && apt-get install -y tini=0.19.* && rm -rf /var/lib/apt/lists/*'),
    broken: file => file.running(/^apt-get install(?!.* --no-install-recommends\b)/),
  },
  DL3016: { says: 'Pin versions in npm', example: plain('RUN npm install --ignore-scripts left-pad'), broken: file => file.running(/^npm (i|install|add)\b(?!.*@\d)/) },
  DL3020: { says: 'Use COPY instead of ADD for files and folders', example: plain('ADD a /b'), broken: file => file.of('ADD') },
  DL3022: {
    says: 'COPY --from should reference a previously defined FROM alias', example: plain('COPY --from=nowhere /a /b'),
    broken: file => file.of('COPY').filter(copy => fromOf(copy) !== null && !file.stagesBefore(copy).includes(fromOf(copy))),
  },
  DL3024: {
    says: 'FROM aliases must be unique', example: `FROM debian:12.11-slim AS a\n${plain('').replace('slim', 'slim AS a')}`,
    broken: file => file.stages.filter(({ from, name }) => name !== null && file.stagesBefore(from).includes(name)).map(({ from }) => from),
  },
  DL3025: {
    says: 'Use JSON notation for CMD and ENTRYPOINT', example: plain('').replace('ENTRYPOINT ["true"]', 'ENTRYPOINT true'),
    broken: file => [...file.of('CMD'), ...file.of('ENTRYPOINT')].filter(command => !isJson(command)),
  },
  DL3027: { says: 'Do not use apt: it is for people', example: plain('RUN apt install -y tini=0.19.*'), broken: file => file.running(/^apt\b(?!-)/) },
  DL3045: {
    says: 'COPY to a relative destination without WORKDIR set', example: plain('COPY a b'),
    broken: file => file.stages.flatMap(stage => stage.instructions.filter(instruction => instruction.getKeyword() === 'COPY')
      .filter(copy => !/(^| )["']?[/$]\S*$/.test(textOf(copy)) && !file.lineage(stage).some(other => other.getKeyword() === 'WORKDIR' && isBefore(other, copy)))),
  },
  DL3057: {
    says: 'HEALTHCHECK instruction missing', example: 'FROM debian:12.11-slim\nUSER 1000:1000\nENTRYPOINT ["true"]\n',
    // One that builds on another image of this repository has its own.
    broken: file => (file.last && !file.last.image.startsWith('pawl:') && file.of('HEALTHCHECK').length === 0 ? [file.last.from] : []),
  },
  DL3059: { says: 'Multiple consecutive RUN instructions', example: plain('RUN id\nRUN ls'), broken: file => file.of('RUN').filter(run => file.instructions[file.instructions.indexOf(run) - 1]?.getKeyword() === 'RUN') },
  DL4000: { says: 'MAINTAINER is deprecated', example: plain('MAINTAINER somebody'), broken: file => file.of('MAINTAINER') },
  DL4003: {
    says: 'Only one CMD, ENTRYPOINT, HEALTHCHECK in a stage (and DL4004, DL3012)', example: plain('CMD ["a"]\nCMD ["b"]'),
    broken: file => file.stages.flatMap(stage => ['CMD', 'ENTRYPOINT', 'HEALTHCHECK'].flatMap(keyword => repeated(stage.instructions.filter(instruction => instruction.getKeyword() === keyword)))),
  },
  DL4006: {
    says: 'Set the SHELL option -o pipefail before RUN with a pipe in it', example: plain('RUN ls | sort'),
    broken: file => file.of('RUN').filter(run => /[^|]\|[^|]/.test(textOf(run)) && !file.of('SHELL').some(shell => isBefore(shell, run) && textOf(shell).includes('pipefail'))),
  },
  'own: user': {
    says: 'The image runs as a user that is not root, by number: Kubernetes cannot look up names', example: plain('').replace('USER 1000:1000', 'USER pawl'),
    broken: ({ last }) => (last && !/^\d+:\d+$/.test(userOf(last)) ? [last.from] : []),
  },
  'own: secrets': {
    says: 'Nothing secret is built in: layers and arguments can be read by whoever has the image', example: plain('ENV MQTT_PASSWORD=hunter2'),
    broken: file => [
      ...[...file.of('ENV'), ...file.of('ARG')].filter(instruction => /password|secret|token|api_?key|private/i.test(rawOf(instruction))),
      ...file.of('COPY').filter(copy => /\.(pem|key|p12|env)\b/.test(rawOf(copy)) || /(^| )\.\/? /.test(rawOf(copy))),
    ],
  },
  'own: scripts': {
    says: 'npm runs no install script but one that is named', example: plain('RUN npm ci --omit=dev'),
    broken: file => file.running(/^npm (ci|install|uninstall)\b(?!.* --ignore-scripts\b)|^(\w+=\S+ )*npm rebuild$/),
  },
}

function isBefore(a: Instruction, b: Instruction): boolean {
  return a.getRange().start.line < b.getRange().start.line
}

function userOf({ instructions }: Stage): string {
  const user = instructions.findLast(instruction => instruction.getKeyword() === 'USER')
  return user ? textOf(user) : ''
}

/** What apt-get is to install. */
function aptPackages(run: Instruction): string[] {
  return commandsOf(run).filter(command => command.startsWith('apt-get install')).flatMap(command => command.split(/\s+/).slice(2).filter(word => !word.startsWith('-')))
}

/** What is wrong with a Dockerfile, in the order of the rules. */
export function brokenIn(text: string): Broken[] {
  const file = new File(text)
  return Object.entries(rules).flatMap(([rule, { broken }]) =>
    broken(file).map(instruction => ({ rule, line: instruction.getRange().start.line + 1, text: instruction.toString() })))
}
