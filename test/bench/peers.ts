/** The full training step beside PyTorch's, tuned by hand and as it is installed. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { PresetName } from '../../trainer/contract.js'
import { inTurns, median, medianRatio, megabytes, trainReport, type Options, type Result, type Row } from './measure.js'

/** What the peer prints, in its own names. */
interface PeerReport {
  peer: string
  threads: number
  seconds_per_step: number
  min_seconds: number
  max_seconds: number
  images_per_s: number
  roofline_gflops: number
  roofline_fraction: number
  peak_rss_mb: number
}

interface Figures {
  engine: string
  secondsPerStep: number
  /** The quickest and the slowest step. */
  minSeconds: number
  maxSeconds: number
  imagesPerSecond: number
  rooflineGflops: number
  rooflineFraction: number
  peakMb: number
  /** The peer does not tell. */
  firstSeconds: number | null
}

const runners = ['pawl', 'tuned', 'as installed'] as const
type Runner = (typeof runners)[number]

const defaultRepeats = { nano: 20, micro: 10, tiny: 6 } as const
/** Debian's own, whose packages have PyTorch. */
const python = '/usr/bin/python3'

export async function run({ turns, repeats, presets, say }: Options): Promise<Result> {
  const peer = process.env.PAWL_TORCH_PEER
  const notes = peer ? [blasNote()] : ['PAWL_TORCH_PEER names no program: PyTorch is left out']
  const rows: Row[] = []
  for (const preset of presets) {
    const counted = repeats ?? defaultRepeats[preset]
    const results = await inTurns(turns, peer ? runners : runners.slice(0, 1), runner => {
      say(`${preset}, ${runner}`)
      return peer && runner !== 'pawl' ? theirs(peer, preset, runner, counted) : ours(preset, counted)
    })
    for (const [runner, measured] of results) rows.push(rowOf(preset, runner, measured, results.get('pawl') ?? []))
  }
  return { rows, notes }
}

function rowOf(preset: PresetName, runner: Runner, turns: readonly Figures[], pawl: readonly Figures[]): Row {
  const middle = (of: (figures: Figures) => number | null) => median(turns.map(of).map(value => value ?? Number.NaN))
  const seconds = (figures: readonly Figures[]) => figures.map(({ secondsPerStep }) => secondsPerStep)
  const first = middle(({ firstSeconds }) => firstSeconds)
  return {
    preset,
    runner: runner === 'pawl' ? 'pawl' : `${turns[0]?.engine ?? ''}, ${runner}`,
    secondsPerStep: middle(({ secondsPerStep }) => secondsPerStep),
    minSeconds: Math.min(...turns.map(({ minSeconds }) => minSeconds)),
    maxSeconds: Math.max(...turns.map(({ maxSeconds }) => maxSeconds)),
    imagesPerSecond: middle(({ imagesPerSecond }) => imagesPerSecond),
    timesPawl: medianRatio(seconds(turns), seconds(pawl)),
    firstSeconds: Number.isNaN(first) ? null : first,
    peakMb: middle(({ peakMb }) => peakMb),
    rooflineGflops: middle(({ rooflineGflops }) => rooflineGflops),
    rooflineFraction: middle(({ rooflineFraction }) => rooflineFraction),
  }
}

async function ours(preset: PresetName, repeats: number): Promise<Figures> {
  const { peakRssBytes, ...report } = await trainReport(preset, repeats)
  return { ...report, engine: 'pawl', peakMb: megabytes(peakRssBytes) }
}

async function theirs(peer: string, preset: PresetName, runner: Runner, repeats: number): Promise<Figures> {
  const mode = runner === 'as installed' ? ['--as-installed'] : []
  const { stdout } = await promisify(execFile)(python, [peer, '--bench-step', '--preset', preset, '--repeats', String(repeats), ...mode])
  const report = JSON.parse(stdout) as PeerReport
  return {
    engine: report.peer,
    secondsPerStep: report.seconds_per_step,
    minSeconds: report.min_seconds,
    maxSeconds: report.max_seconds,
    imagesPerSecond: report.images_per_s,
    rooflineGflops: report.roofline_gflops,
    rooflineFraction: report.roofline_fraction,
    // Its unit is 2^20 bytes.
    peakMb: megabytes(report.peak_rss_mb * 2 ** 20),
    firstSeconds: null,
  }
}

/** An OpenBLAS that does not know the processor takes kernels for a very old one: its roofline in the table shows it. */
function blasNote(): string {
  const core = process.env.OPENBLAS_CORETYPE
  return core ? `OPENBLAS_CORETYPE=${core}` : 'OPENBLAS_CORETYPE is not set: OpenBLAS chooses by the processor; where it does not know it, name one (SkylakeX)'
}
