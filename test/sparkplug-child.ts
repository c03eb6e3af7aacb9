/** All that goes out of an agent with one camera, in a process of its own, for tests that kill it: node sparkplug-child.ts CONFIG FOLDER. */
import { cameraStatus, makeReport, nothingBefore, prediction } from './reporting.js'

const [, , config = '', folder = ''] = process.argv
const report = makeReport(config, folder)
await report.start(nothingBefore)
report.accept({ type: 'camera', status: cameraStatus })
report.accept(prediction('shirt'))
