import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { topics } from '../agent/report/topics.js'
import { budget, bytesOf, sentBy } from './broker/budget.js'

const digits = (value: number) => value.toLocaleString('en-US', { maximumSignificantDigits: 2 })

it('the table of deploy/SCALE.md is what the budget comes to', async () => {
  const text = await readFile(join(import.meta.dirname, '..', 'deploy', 'SCALE.md'), 'utf8')
  const rows = [1, 60].flatMap(predictionSeconds => [100, 10_000, 1_000_000].map(boxes => {
    const { messagesPerSecond, bytesPerSecond, retainedBytes } = budget(boxes, sentBy({ predictionSeconds }), { longestWaitSeconds: 60 })
    const kept = `${digits(retainedBytes / 1e6)} MB`
    return `| ${boxes.toLocaleString('en-US')} | ${String(predictionSeconds)} s | ${digits(messagesPerSecond)} | ${digits(bytesPerSecond / 1e6)} MB | ${kept} |`
  }))
  for (const row of rows) expect(text).toContain(row)
  const months = [1, 60].map(predictionSeconds => budget(1, sentBy({ predictionSeconds }), { longestWaitSeconds: 60 }).monthlyBytesOfBox / 1e6)
  expect(text).toContain(`${digits(months[0] ?? 0)} MB a month with a prediction a second and camera, ${digits(months[1] ?? 0)} MB with one a minute`)
})

it('the budget has the topics of a box, each with the QoS that it is sent with', () => {
  const known = Object.values(topics).filter(({ direction }) => direction === 'out').map(({ topic, qos, retained }) => [topic, qos, retained])
  for (const { topic, qos, retained } of sentBy({ predictionSeconds: 1 })) {
    expect(known).toContainEqual([topic.replace(/camera\/cam-\d/, 'camera/{camera}'), qos, retained])
  }
})

it('a message of QoS 1 is acknowledged, TLS adds to each packet', () => {
  const message = { topic: 'a/b', retained: false, topicBytes: 3, payloadBytes: 10, perHour: 1 }
  const [zero, one] = ([0, 1] as const).map(qos => bytesOf({ ...message, qos }, { tls: false }))
  expect([zero, one, bytesOf({ ...message, qos: 1 }, { tls: true })]).toEqual([98, 104, 148])
})
