/** A kernel is a row: the name that tfjs calls it by, and how it becomes ONNX. */
import type { Value } from '../graph.js'

/** The inputs of one call by tfjs's names (or '0', '1', … where an operation takes a list). */
export type KernelInputs = Readonly<Record<string, Value>>

export type KernelAttributes = Readonly<Record<string, unknown>>

export type Kernel = (inputs: KernelInputs, attributes: KernelAttributes) => Value | Value[]

export type KernelTable = Readonly<Record<string, Kernel>>

export function take(inputs: KernelInputs, name: string): Value {
  const value = inputs[name]
  if (!value) throw new Error(`the input "${name}" is missing; given: ${Object.keys(inputs).join(', ')}`)
  return value
}

export function numberAttribute(attributes: KernelAttributes, name: string): number {
  const value = attributes[name]
  if (typeof value !== 'number') throw new Error(`the attribute "${name}" is ${String(value)}, not a number`)
  return value
}

export function numbersAttribute(attributes: KernelAttributes, name: string): number[] {
  const value = attributes[name]
  if (typeof value === 'number') return [value]
  if (Array.isArray(value) && value.every(item => typeof item === 'number')) return value
  throw new Error(`the attribute "${name}" is ${String(value)}, not a list of numbers`)
}

/** A negative axis counts from the end. */
export function positiveAxis(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis
}

/** All axes unless some are given. */
export function axesOf(x: Value, given: unknown): number[] {
  const all = x.shape.map((_, axis) => axis)
  return given === undefined || given === null ? all : numbersAttribute({ given }, 'given').map(axis => positiveAxis(axis, x.shape.length))
}

/** The entry of an axis that must be there. */
export function at(list: readonly number[], axis: number): number {
  const value = list[axis]
  if (value === undefined) throw new Error(`there is no axis ${String(axis)} in [${list.join(', ')}]`)
  return value
}
