/** What a fleet costs its broker, from what one box sends: the table of deploy/SCALE.md. */

/** A kind of message: bytes of its topic and payload, and how often a box sends it. */
export interface Sent {
  topic: string
  qos: 0 | 1
  retained: boolean
  topicBytes: number
  payloadBytes: number
  perHour: number
}

export interface Load {
  boxes: number
  /** To the broker. */
  messagesPerSecond: number
  bytesPerSecond: number
  /** Topics and payloads that the broker keeps. */
  retainedBytes: number
  /** Of one box over its line, a month of 30 days, both directions. */
  monthlyBytesOfBox: number
  /** New connections each second where all come back at once, spread over the longest wait. */
  connectionsPerSecond: number
}

/** What a box with two cameras and a round a day sends; bytes as `npm run bench:broker -- --parts traffic` measured them. */
export function sentBy({ predictionSeconds }: { predictionSeconds: number }): Sent[] {
  const hourly = 3600 / predictionSeconds
  const daily = 1 / 24
  const rows: [topic: string, qos: 0 | 1, retained: boolean, payloadBytes: number, perHour: number][] = [
    ['health', 1, true, 244, 60],
    ...['cam-1', 'cam-2'].flatMap((camera): typeof rows => [
      [`camera/${camera}/status`, 1, true, 116, 60], [`camera/${camera}/prediction`, 0, true, 246, hourly],
    ]),
    ['train/state', 1, true, 195, 19 * daily], ['event', 1, false, 405, 4 * daily], ['model/active', 1, true, 909, daily],
    ['model/candidate', 1, true, 874, daily], ['model/mode', 1, true, 17, 0], ['drift', 1, true, 43, daily], ['info', 1, true, 105, 0],
    ['availability', 1, true, 6, 0],
  ]
  return rows.map(([topic, qos, retained, payloadBytes, perHour]) =>
    ({ topic, qos, retained, topicBytes: `pawl/box-000001/${topic}`.length, payloadBytes, perHour }))
}

/** MQTT 3.1.1: fixed header with a length of two bytes, length of the topic; with QoS 1 an identifier. Its acknowledgement has 4. */
const header = 5
const identifier = 2
const acknowledgement = 4
/** Headers of TCP and IPv4, one packet a message and one back; a record of TLS 1.3. */
const packet = 40
const record = 22
/** A ping and its answer, every 30 s. */
const pingBytes = 2 + 2
const pingSeconds = 30

/** On the wire, of the message and what is said back. */
export function bytesOf({ qos, topicBytes, payloadBytes }: Sent, { tls }: { tls: boolean }): number {
  const around = packet + (tls ? record : 0)
  return header + topicBytes + payloadBytes + around + (qos === 1 ? identifier + acknowledgement + around : packet)
}

export interface BudgetOptions {
  tls?: boolean
  longestWaitSeconds: number
}

export function budget(boxes: number, sent: readonly Sent[], { tls = true, longestWaitSeconds }: BudgetOptions): Load {
  const sum = (of: (message: Sent) => number) => sent.reduce((total, message) => total + of(message), 0)
  const perSecond = sum(({ perHour }) => perHour / 3600)
  const pings = (pingBytes + 2 * (packet + (tls ? record : 0))) / pingSeconds
  const bytesPerSecond = sum(message => bytesOf(message, { tls }) * message.perHour / 3600) + pings
  return {
    boxes,
    messagesPerSecond: boxes * perSecond,
    bytesPerSecond: boxes * bytesPerSecond,
    retainedBytes: boxes * sum(({ retained, topicBytes, payloadBytes }) => (retained ? topicBytes + payloadBytes : 0)),
    monthlyBytesOfBox: bytesPerSecond * 30 * 86_400,
    connectionsPerSecond: boxes / longestWaitSeconds,
  }
}
