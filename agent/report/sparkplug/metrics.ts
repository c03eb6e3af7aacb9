/** The retained state as Sparkplug metrics: a new one is a row. What changes without anybody being able to act on it is left out. */
import type { z } from 'zod'
import type { topics, TopicName } from '../topics.js'
import type { DataType, Value } from './payload.js'

type State<N extends TopicName> = z.infer<(typeof topics)[N]['payload']>
type Rows<N extends TopicName> = Record<string, [DataType, (state: State<N>) => Value]>

const box: { [N in TopicName]?: Rows<N> } = {
  info: {
    'Properties/Version': ['String', ({ version }) => version],
    'Properties/Platform': ['String', ({ platform }) => platform],
    'Properties/Started': ['DateTime', ({ startedAtMs }) => startedAtMs],
  },
  health: {
    'Health/State': ['String', ({ state }) => state],
    'Health/Newest problem': ['String', ({ problems }) => problems.at(-1)?.message ?? null],
    'Health/Memory bytes': ['Int64', ({ rssBytes }) => rssBytes],
    'Health/Cameras online': ['Int64', ({ camerasOnline }) => camerasOnline],
    'Frames/Collecting': ['Boolean', ({ collection }) => collection.state === 'running'],
    'Frames/Count': ['Int64', ({ frames }) => frames],
    'Frames/Bytes': ['Int64', ({ frameBytes }) => frameBytes],
    'Outbox/Waiting': ['Int64', ({ outbox }) => outbox.waiting],
    'Outbox/Dropped': ['Int64', ({ outbox }) => outbox.dropped],
  },
  modelActive: {
    'Model/Version': ['Int64', ({ version }) => version],
    'Model/Created': ['DateTime', ({ createdAtMs }) => createdAtMs],
    'Model/SHA-256': ['String', ({ sha256 }) => sha256],
    'Model/Accuracy': ['Double', ({ accuracy }) => accuracy],
    'Model/Calibration error': ['Double', ({ ece }) => ece],
  },
  modelCandidate: {
    'Decision/Round': ['Int64', ({ round }) => round],
    'Decision/Promoted': ['Boolean', ({ promoted }) => promoted],
    'Decision/Reason': ['String', ({ reason }) => reason],
    'Decision/Accuracy champion': ['Double', ({ accuracyChampion }) => accuracyChampion],
    'Decision/Accuracy challenger': ['Double', ({ accuracyChallenger }) => accuracyChallenger],
  },
  drift: {
    'Drift/State': ['String', ({ state }) => state],
    'Drift/Alarm': ['Boolean', ({ state }) => state === 'alarm'],
    'Drift/Since': ['DateTime', ({ alarm }) => alarm?.sinceMs ?? null],
  },
  trainState: {
    'Round/Running': ['Boolean', ({ state }) => state === 'running'],
    'Round/Number': ['Int64', ({ round }) => round],
    'Round/Phase': ['String', ({ phase }) => phase],
    'Round/Progress': ['Double', ({ fraction }) => fraction],
  },
}

const camera: { [N in TopicName]?: Rows<N> } = {
  cameraStatus: {
    'Camera/Pictures per second': ['Double', ({ picturesPerSecond }) => picturesPerSecond],
    'Camera/Newest picture': ['DateTime', ({ lastPictureAtMs }) => lastPictureAtMs],
    'Camera/Restarts': ['Int64', ({ restarts }) => restarts],
    'Camera/Problem': ['String', ({ reason }) => reason],
  },
  cameraPrediction: {
    'Prediction/Class': ['String', ({ label }) => label],
    'Prediction/Confidence': ['Double', ({ confidence }) => confidence],
    'Prediction/Model': ['Int64', ({ model }) => model],
    'Prediction/Captured': ['DateTime', ({ capturedAtMs }) => capturedAtMs],
    'Prediction/Latency ms': ['Double', ({ latencyMs }) => latencyMs],
  },
}

/** Types by name: of the edge node, and of each of its devices. */
export const boxMetrics = typesOf(box)
export const cameraMetrics = typesOf(camera)

function typesOf(tables: typeof box): Record<string, DataType> {
  return Object.fromEntries(Object.values(tables).flatMap(rows => Object.entries(rows).map(([name, [type]]) => [name, type])))
}

/** What a new value of a retained topic says, by the names of metrics. */
export function metricsOf<N extends TopicName>(name: N, state: State<N>): Record<string, Value> {
  const rows: Rows<N> = box[name] ?? camera[name] ?? {}
  return Object.fromEntries(Object.entries(rows).map(([metric, [, valueOf]]) => [metric, valueOf(state)]))
}
