/** Where the code that called tfjs stands: the nearest line of a stack outside of the engine. */
export function callSite(stack = deepStack()): string {
  const line = stack.split('\n').slice(1).find(entry => !/tfjs-core|trainer\/backend\/|node:internal|<anonymous>\)?$/.test(entry))
  return line?.trim().replace(/^at /, '') ?? 'an unknown place'
}

/** tfjs alone is more than the ten frames that are usual. */
function deepStack(): string {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 60
  const { stack = '' } = new Error()
  Error.stackTraceLimit = stackTraceLimit
  return stack
}
