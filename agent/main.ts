#!/usr/bin/env node
/** The command line: what a person types, what a machine reads. Each command loads what it needs when it runs. */
import completionOf from '@bomb.sh/tab/commander'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { Change } from './commands/models.js'
import { PawlError } from './errors.js'
import { columnNames, filterNames } from './fleet/row.js'
import { packageVersion } from './lib/package-root.js'
import { methodAliases, methods, presetNames } from '../trainer/contract.js'

interface CommonOptions {
  config?: string
  json?: boolean
}

/** Ends what runs: the first Ctrl-C or SIGTERM asks, the second insists. */
function untilInterrupted(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(130)
      controller.abort()
    })
  }
  return controller.signal
}

const count = (text: string) => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number from 0 is needed')
  return value
}
const atLeastOne = (text: string) => {
  if (count(text) === 0) throw new InvalidArgumentError('a whole number from 1 is needed')
  return count(text)
}
const positive = (text: string) => {
  const value = Number(text)
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError('a number above 0 is needed')
  return value
}

const example = (...lines: string[]) => `\n${lines.length > 1 ? 'Examples' : 'Example'}:\n${lines.map(line => `  $ ${line}\n`).join('')}`
const json = new Option('--json', 'one JSON object as the last line of the output')
const config = new Option('--config <file>', 'configuration file; without one, the embedded defaults')
const preset = new Option('--preset <name>', 'size of the model').choices(presetNames).default('nano')
const backend = new Option('--backend <name>', 'engine that trains').choices(['auto', 'onnxruntime', 'tensorflow']).default('auto')
const device = new Option('--device <name>', 'device that it runs on').choices(['auto', 'cpu', 'webgpu', 'cuda']).default('auto')
const lanes = new Option('--lanes <n>', 'processor cores that train; as many as there are unless given').argParser(atLeastOne)

const program = new Command('pawl')
  .description('Watches cameras, trains on what it sees, and replaces its model only with a proven better one.')
  .version(packageVersion())
  .showHelpAfterError('(the same with --help tells what there is)')
  .exitOverride()

program.command('run').description('the daemon').addOption(config).option('--json', 'tells what happens in lines of JSON, on standard error, from logLevel on')
  .addHelpText('after', example('pawl run --config /etc/pawl.yaml'))
  .action(async (options: { config?: string; json?: boolean }) => { await (await import('./commands/run.js')).run(options, untilInterrupted()) })

program.command('demo').description('the whole story in minutes, ends by itself').addOption(json)
  .option('--data <folder>', 'folder to work in; a temporary one unless given')
  .addHelpText('after', example('pawl demo'))
  .action(async (options: { json?: boolean; data?: string }) => { await (await import('./commands/demo.js')).demo(options, untilInterrupted()) })

program.command('train').description('one round outside the daemon: class folders in, model out')
  .requiredOption('--labeled <folder>', 'class folders of labeled images')
  .option('--unlabeled <folder>', 'images that nobody labeled, in any depth of folders')
  .option('--validation <folder>', 'class folders that judge and never teach; else a part of the labels is kept back')
  .requiredOption('--out <folder>', 'folder for model.onnx, weights.safetensors and card.json; a training that was interrupted there goes on')
  .addOption(preset)
  .addOption(new Option('--method <name>', 'how it learns').choices([...methods, ...Object.keys(methodAliases)]).default('pawl'))
  .addOption(new Option('--steps <n>', 'training steps, instead of minutes').argParser(atLeastOne).conflicts('minutes'))
  .option('--minutes <n>', 'length of the round, when no steps are given (default: 10)', positive)
  .option('--seed <n>', 'everything random follows from it', count, 1)
  .addOption(backend).addOption(device).addOption(lanes).addOption(json)
  .addHelpText('after', example('pawl train --labeled labels --unlabeled frames --out model --minutes 10'))
  .action(async (options: unknown) => { await (await import('./commands/train.js')).train(options, untilInterrupted()) })

program.command('eval').description('measures a model on class folders')
  .requiredOption('--model <file>', 'model.onnx, or the folder that holds it')
  .requiredOption('--data <folder>', 'class folders of images')
  .addOption(json)
  .addHelpText('after', example('pawl eval --model model --data fixtures/fashion-mnist/test'))
  .action(async (options: { model: string; data: string; json?: boolean }) => { await (await import('./commands/eval.js')).evaluate(options) })

program.command('quantise').description('an int8 version of a finished model, kept only when it is surely not worse')
  .requiredOption('--model <folder>', 'folder of the finished model: model.onnx, weights.safetensors, card.json')
  .requiredOption('--data <folder>', 'class folders of images that it did not learn from')
  .requiredOption('--out <folder>', 'folder for the int8 model')
  .option('--tolerance <points>', 'points of accuracy, out of 100, that it may surely not lose', positive, 1)
  .option('--repeats <n>', 'images that each model is timed on', atLeastOne, 200)
  .addOption(json)
  .addHelpText('after', '\nBoth models classify the same images. The int8 model is written when the one-sided 95 % lower bound of what it gains in accuracy'
    + '\n(paired, score interval of Tango, 1998) lies above minus the tolerance; for 1 point that takes 268 images where the two never differ, and'
    + '\nmore where they do. Otherwise nothing is written, the evidence is printed, and the exit code is 1.')
  .addHelpText('after', example('pawl quantise --model model --data fixtures/fashion-mnist/test --out model-int8'))
  .action(async (options: unknown) => {
    const { quantise } = await import('./commands/quantise.js')
    await quantise(options as Parameters<typeof quantise>[0])
  })

const bench = program.command('bench').description('measures this machine')
bench.command('train').description('the full training step, beside the matrix product of this machine')
  .addOption(preset).addOption(backend).addOption(device).addOption(lanes).addOption(json)
  .option('--repeats <n>', 'counted steps (default: 20 at nano, 10 at micro, 6 at tiny)', atLeastOne)
  .option('--plain', 'the transformer alone, without stem and readout: what other programs\' steps compare with')
  .addHelpText('after', example('pawl bench train --preset nano'))
  .action(async (options: unknown) => { await (await import('./commands/bench.js')).benchTrainCommand(options) })
bench.command('infer').description('JPEG bytes to prediction')
  .option('--model <file>', 'model.onnx, or the folder that holds it; else one with random weights of the preset')
  .addOption(preset).addOption(json)
  .option('--repeats <n>', 'counted images', atLeastOne, 300)
  .addHelpText('after', example('pawl bench infer --preset nano'))
  .action(async (options: { model?: string; preset: string; json?: boolean; repeats: number }) => { await (await import('./commands/bench.js')).benchInferCommand(options) })

const models = program.command('models').description('the models of a data folder: what serves, and what is to; at once where the daemon runs')
const modelsCommand = (verb: string, description: string, ...examples: string[]) => models.command(verb).description(description)
  .addOption(config).addOption(json).addHelpText('after', example(...examples.length ? examples : [`pawl models ${verb}`]))
const modelsChange = (verb: Change, description: string, argument: '' | '<version>' | '[version]' = '') => {
  const command = modelsCommand(verb, description, `pawl models ${verb}${argument && ' 3'}`)
  if (argument) command.argument(argument, 'number of the model', count)
  command.action(async (...args: unknown[]) => {
    await (await import('./commands/models.js')).change(verb, argument ? args[0] as number | undefined ?? null : null, args.at(-2) as CommonOptions)
  })
}
modelsCommand('list', 'all models, and which is in service')
  .action(async (options: CommonOptions) => { await (await import('./commands/models.js')).list(options) })
modelsCommand('show', 'card and decision of a model', 'pawl models show 3').argument('<version>', 'number of the model', count)
  .action(async (version: number, options: CommonOptions) => { await (await import('./commands/models.js')).show(version, options) })
modelsCommand('history', 'what became of the models lately: what was registered, promoted and rolled back, when and why')
  .action(async (options: CommonOptions) => { await (await import('./commands/models.js')).history(options) })
modelsCommand('verify', 'compares every model with the hashes on its card, and all of them with their signed history')
  .action(async (options: CommonOptions) => { await (await import('./commands/models.js')).verify(options) })
modelsCommand('key', 'the key that signs what this box gives to others: to be put into exchange.trust of those that are to judge its models')
  .action(async (options: CommonOptions) => { await (await import('./commands/models.js')).key(options) })
modelsChange('promote', 'puts a model in service, whatever was proved of it', '<version>')
modelsChange('rollback', 'puts the former model back in service')
modelsChange('pin', 'keeps a model in service, whatever passes the gate: the one that serves, unless another is named', '[version]')
modelsChange('follow', 'a challenger that passes the gate serves: ends pin and pause')
modelsChange('pause', 'no round begins, and what passes in one that runs does not serve')

const label = program.command('label').description('human labels')
label.command('import').description('copies class folders into the labels of the data folder').argument('<folder>').addOption(config).addOption(json)
  .addHelpText('after', example('pawl label import my-labels'))
  .action(async (folder: string, options: { config?: string; json?: boolean }) => { await (await import('./commands/label.js')).labelImport(folder, options) })
label.command('status').description('labels of each class').addOption(config).addOption(json)
  .addHelpText('after', example('pawl label status'))
  .action(async (options: { config?: string; json?: boolean }) => { await (await import('./commands/label.js')).labelStatus(options) })

program.command('status').description('model, rounds, frames and labels of the data folder').addOption(config).addOption(json)
  .addHelpText('after', example('pawl status --json'))
  .action(async (options: { config?: string; json?: boolean }) => { await (await import('./commands/status.js')).status(options) })

program.command('backup').description('copies the data folder into one file, also while the daemon runs: models with their history and key, labels, records').argument('<file>')
  .addOption(config).option('--frames', 'the unlabeled frames too', false).addOption(json)
  .addHelpText('after', example('pawl backup --config /etc/pawl.yaml box-7.pawl.zip'))
  .action(async (file: string, options: CommonOptions & { frames: boolean }) => { await (await import('./commands/backup.js')).backupCommand(file, options) })
program.command('restore').description('puts a backup in the place of the data folder; the daemon must not run').argument('<file>')
  .addOption(config).option('--force', 'also where there is a registry: what is there moves into a folder of its own', false).addOption(json)
  .addHelpText('after', example('pawl restore --config /etc/pawl.yaml box-7.pawl.zip'))
  .action(async (file: string, options: CommonOptions & { force: boolean }) => { await (await import('./commands/backup.js')).restoreCommand(file, options) })

program.command('fleet').description('all boxes of a broker: a page, a table in the terminal, or a look that ends')
  .option('--broker <url>', 'broker that the boxes report to (default: mqtt://127.0.0.1:1883); user and password go into the file or the environment')
  .option('--config <file>', 'file with the sections mqtt and dashboard, as in that of a box, and answerSeconds')
  .option('--base <topic>', 'first level of their topics (default: pawl)')
  .option('--port <n>', 'port of the page (default: 8471), or the next one that is free', atLeastOne)
  .option('--address <address>', 'address of the page (default: 127.0.0.1); any but loopback needs a password')
  .option('--terminal', 'a table in this terminal, drawn anew as it changes; no page')
  .option('--once', 'prints the boxes as they are and ends')
  .addOption(new Option('--filter <names...>', 'only boxes that are all of this').choices(filterNames).default([], 'all boxes'))
  .option('--search <words>', 'only boxes that say these words: name, version, reason, what is wrong', '')
  .addOption(new Option('--sort <column>', 'what they are in order of').choices(columnNames).default('device'))
  .option('--descending', 'from the greatest to the least', false)
  .option('--wait <seconds>', 'with --once: for the broker, and all that it retains', positive, 30)
  .addOption(json)
  .addHelpText('after', example(
    'pawl fleet --broker mqtt://broker.local', 'pawl fleet --broker mqtt://broker.local --terminal --sort accuracy',
    'pawl fleet --broker mqtt://broker.local --once --filter offline', 'pawl fleet --config fleet.yaml --once --json | jq .boxes[].device',
    'PAWL_MQTT_PASSWORD=… pawl fleet --config fleet.yaml --address 0.0.0.0',
  ))
  .action(async (options: unknown) => {
    const { fleet } = await import('./commands/fleet.js')
    await fleet(options as Parameters<typeof fleet>[0], untilInterrupted())
  })

program.command('doctor').description('checks what the agent needs, and says what to do').addOption(config).addOption(json)
  .addOption(new Option('--verify-device [device]', 'check anew whether the engines of a device (default: of all) compute what they should, and how fast')
    .choices(['auto', 'cpu', 'webgpu', 'cuda']).preset('auto'))
  .addHelpText('after', example('pawl doctor --config /etc/pawl.yaml', 'pawl doctor --verify-device webgpu'))
  .action(async (options: { config?: string; json?: boolean; verifyDevice?: string }) => { await (await import('./commands/doctor.js')).doctor(options) })

program.command('report').description('the evidence of a round as one HTML page that needs nothing else: losses, gate, mistakes, decision').addOption(config)
  .option('--round <n>', 'number of the round (default: the last one)', atLeastOne)
  .option('--out <file>', 'file to write (default: round-<n>.html)').addOption(json)
  .addHelpText('after', example('pawl report --config /etc/pawl.yaml --round 7'))
  .action(async (options: CommonOptions & { round?: number; out?: string }) => { await (await import('./commands/report.js')).report(options) })

program.command('password').description('makes the password of the page on the box: asks for it, or reads one line that is piped in')
  .option('--out <file>', 'file for its hash, which dashboard.passwordFile names; else it is printed').addOption(json)
  .addHelpText('after', example('pawl password --out /etc/pawl/dashboard-password'))
  .action(async (options: { out?: string; json?: boolean }) => { await (await import('./commands/password.js')).password(options) })

program.command('enroll').description('the certificate that the broker knows this box by: makes key and request, and puts in place what was signed')
  .addOption(config)
  .option('--device <id>', 'name of the box; else `device` of the configuration')
  .option('--out <folder>', 'folder for key, request and certificate; else that of mqtt.tls.cert of the configuration')
  .option('--renew', 'asks for the next certificate; the one in use stays until that is installed', false)
  .option('--install <certificate>', 'file (PEM) of a certificate that was signed: puts it in place with its key, where it passes every check')
  .option('--ca <file>', 'with --install: file (PEM) of the authority that must have signed it')
  .addOption(json)
  .addHelpText('after', example(
    'pawl enroll --device box-7 --out /etc/pawl/tls', 'pawl enroll --device box-7 --out /etc/pawl/tls --install box-7.crt --ca ca.crt',
    'pawl enroll --config /etc/pawl.yaml --renew',
  ))
  .action(async (options: unknown) => {
    const { enroll } = await import('./commands/enroll.js')
    await enroll(options as Parameters<typeof enroll>[0])
  })

const configuration = program.command('config').description('the configuration file')
configuration.command('check').description('reports everything that is wrong').argument('<file>').addOption(json)
  .addHelpText('after', example('pawl config check /etc/pawl.yaml'))
  .action(async (file: string, options: { json?: boolean }) => { await (await import('./commands/config.js')).check(file, options) })
configuration.command('schema').description('the JSON schema').action(async () => { (await import('./commands/config.js')).schema() })
configuration.command('example').description('a complete file: every key, its default, its meaning').action(async () => { (await import('./commands/config.js')).example() })

program.command('mqtt').description('what the agent says over MQTT, and what it can be asked')
  .command('schema').description('the AsyncAPI document of a box with this configuration; without one, of any box')
  .option('--config <file>', 'configuration file')
  .addHelpText('after', example('pawl mqtt schema --config /etc/pawl.yaml > asyncapi.json'))
  .action(async (options: { config?: string }) => { await (await import('./commands/mqtt.js')).schema(options) })

// Whoever reads has read enough (`pawl … | head`): it ends quietly, with the code of programs that SIGPIPE ends.
process.stdout.on('error', (cause: NodeJS.ErrnoException) => { process.exit(cause.code === 'EPIPE' ? 141 : 1) })

completionOf(program, { completionCommandName: 'completion' })

try {
  await program.parseAsync()
  // A pipe takes what is long bit by bit.
  await new Promise(resolve => { process.stdout.write('', resolve) })
  // Native threads must not keep a finished command alive.
  process.exit(process.exitCode ?? 0)
} catch (cause) {
  if (cause instanceof CommanderError) process.exit(cause.exitCode === 0 ? 0 : 2)
  const error = cause instanceof Error ? cause : new Error(String(cause))
  const code = cause instanceof PawlError ? `${cause.code}: ` : error.name === 'RoundError' ? `${(error as Error & { reason: string }).reason}: ` : ''
  if (process.argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ error: { code: code.replace(': ', '') || 'INTERNAL', message: error.message } })}\n`)
  }
  process.stderr.write(code || process.env.PAWL_DEBUG === undefined ? `pawl: ${code}${error.message}\n` : `${error.stack ?? error.message}\n`)
  process.exit(1)
}
