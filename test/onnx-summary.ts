/** What an ONNX file is made of, read from its bytes: versions, domains, operations, bytes of its constants. */
import { BinaryReader } from '@bufbuild/protobuf/wire'

export interface OnnxSummary {
  irVersion: number
  /** Version of each operator set by its domain; '' is the standard one. */
  opsets: Record<string, number>
  /** Domains that nodes name; '' is the standard one. */
  domains: string[]
  /** How many nodes of each operation. */
  operations: Record<string, number>
  /** Bytes of the constants of two axes, by their ONNX element type (1 float32, 3 int8). */
  matrixBytes: Record<number, number>
}

export function summaryOf(model: Uint8Array): OnnxSummary {
  const summary: OnnxSummary = { irVersion: 0, opsets: {}, domains: [], operations: {}, matrixBytes: {} }
  const domains = new Set<string>()
  fields(model, {
    1: reader => { summary.irVersion = Number(reader.int64()) },
    7: graph => fields(graph.bytes(), {
      1: node => {
        let [operation, domain] = ['', '']
        fields(node.bytes(), { 4: reader => { operation = reader.string() }, 7: reader => { domain = reader.string() } })
        domains.add(domain)
        summary.operations[operation] = (summary.operations[operation] ?? 0) + 1
      },
      5: tensor => {
        let [axes, type, bytes] = [0, 0, 0]
        fields(tensor.bytes(), {
          1: reader => { reader.int64(); axes++ },
          2: reader => { type = reader.int32() },
          9: reader => { bytes = reader.bytes().length },
        })
        if (axes === 2) summary.matrixBytes[type] = (summary.matrixBytes[type] ?? 0) + bytes
      },
    }),
    8: opset => {
      let [domain, version] = ['', 0]
      fields(opset.bytes(), { 1: reader => { domain = reader.string() }, 2: reader => { version = Number(reader.int64()) } })
      summary.opsets[domain] = version
    },
  })
  summary.domains = [...domains].sort()
  return summary
}

/** Calls what is given for a field's number; skips the others. */
function fields(message: Uint8Array, read: Readonly<Record<number, (reader: BinaryReader) => void>>): void {
  const reader = new BinaryReader(message)
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    const own = read[field]
    if (own) own(reader)
    else reader.skip(wireType, field)
  }
}
